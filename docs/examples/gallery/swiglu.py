"""SwiGLU: x (rows, 2 x width) holds gate and value side by side; silu(gate) times value."""

import torch

columns = {"rows": "Rows", "width": "Width", "dtype": "Dtype"}


def inputs(rows: int, width: int = 1024, dtype: torch.dtype = torch.float32):
    return torch.randn(rows, 2 * width, dtype=dtype)


def reference(x):
    gate, value = x.chunk(2, dim=-1)
    return gate / (1 + torch.exp(-gate)) * value


def work(rows, width, dtype):
    return {"flops": 5 * rows * width, "bytes": 3 * rows * width * dtype.itemsize, "tokens": rows}


def library(x):
    gate, value = x.chunk(2, dim=-1)
    return torch.nn.functional.silu(gate) * value


def by_hand(x):
    gate, value = x.float().chunk(2, dim=-1)
    return (gate * torch.sigmoid(gate) * value).to(x.dtype)


def halves_swapped(x):
    """Wrong: it takes the second half for the gate."""
    value, gate = x.chunk(2, dim=-1)
    return torch.nn.functional.silu(gate) * value
