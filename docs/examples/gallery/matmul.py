"""Matrix product, float32 or bfloat16: by torch, in slices of k, and one that leaves the end of k
out.
"""

from typing import Annotated

import torch
from pydantic import Field

SLICE = 64

columns = {"m": "M", "n": "N", "k": "K", "dtype": "Dtype"}


def inputs(m: int, n: int, k: Annotated[int, Field(ge=1)], dtype: torch.dtype = torch.float32):
    return torch.randn(m, k, dtype=dtype), torch.randn(k, n, dtype=dtype)


def reference(a, b):
    return a @ b


def work(m, n, k, dtype):
    return {"flops": 2 * m * n * k, "bytes": (m * k + k * n + m * n) * dtype.itemsize}


def sliced(a, b):
    """Slice by slice of k, summed in float32."""
    total = torch.zeros(a.shape[0], b.shape[1], dtype=torch.float32, device=a.device)
    for start in range(0, a.shape[1], SLICE):
        total += (a[:, start : start + SLICE] @ b[start : start + SLICE]).float()
    return total.to(a.dtype)


def without_tail(a, b):
    """Wrong where k is no multiple of the slice: the last, shorter slice is left out."""
    whole = a.shape[1] // SLICE * SLICE
    return a[:, :whole] @ b[:whole]
