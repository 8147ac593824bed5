"""Residual sum and RMSNorm in one call: two outputs, the normed rows and the sum that the next
layer adds to.
"""

import torch

EPSILON = 1e-6

columns = {"rows": "Rows", "width": "Width"}


def inputs(rows: int, width: int = 1024, dtype: torch.dtype = torch.float32):
    x, residual = torch.randn(2, rows, width, dtype=dtype)
    weight = 1 + 0.1 * torch.randn(width, dtype=dtype)
    return x, residual, weight


def reference(x, residual, weight):
    total = x + residual
    normed = total / torch.sqrt((total * total).mean(dim=-1, keepdim=True) + EPSILON) * weight
    return {"normed": normed, "residual": total}


def library(x, residual, weight):
    total = x + residual
    return {
        "normed": torch.nn.functional.rms_norm(total, weight.shape, weight, EPSILON),
        "residual": total,
    }


def by_hand(x, residual, weight):
    total = x + residual
    scale = torch.rsqrt(total.float().square().mean(dim=-1, keepdim=True) + EPSILON)
    return {"normed": (total * scale).to(x.dtype) * weight, "residual": total}


def stale_residual(x, residual, weight):
    """Wrong: the second output is the residual that came in, so that every later layer lacks this
    one.
    """
    normed = library(x, residual, weight)["normed"]
    return {"normed": normed, "residual": residual.clone()}
