"""Softmax along the last dimension: by torch, in one pass over blocks, and without the maximum
taken off.
"""

from typing import Literal

import torch

BLOCK = 256

columns = {"rows": "Rows", "width": "Width", "case": "Inputs"}


def inputs(
    rows: int,
    width: int = 1024,
    dtype: torch.dtype = torch.float32,
    case: Literal["normal", "one_hot", "large"] = "normal",
):
    x = torch.randn(rows, width, dtype=dtype)
    if case == "one_hot":
        x[:, width // 2] += 30
    if case == "large":
        x *= 50
    return x


def reference(x):
    shifted = torch.exp(x - x.max(dim=-1, keepdim=True).values)
    return shifted / shifted.sum(dim=-1, keepdim=True)


def online(x):
    """Maximum and sum in one pass over blocks, rescaled as the maximum grows; then one pass that
    writes.
    """
    most = torch.full_like(x[:, :1], -torch.inf, dtype=torch.float32)
    total = torch.zeros_like(most)
    for block in x.float().split(BLOCK, dim=-1):
        larger = torch.maximum(most, block.max(dim=-1, keepdim=True).values)
        total = total * torch.exp(most - larger) + torch.exp(block - larger).sum(
            dim=-1, keepdim=True
        )
        most = larger
    return (torch.exp(x.float() - most) / total).to(x.dtype)


def unshifted(x):
    """Wrong: without the maximum taken off, exp overflows from 89 on."""
    exponentials = torch.exp(x)
    return exponentials / exponentials.sum(dim=-1, keepdim=True)
