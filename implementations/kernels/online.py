"""Online softmax over parts of a row's keys: a running result in float32 and its log-sum-exp."""

from __future__ import annotations

import importlib.util
import os
from functools import cache
from itertools import chain

import torch

from .sdpa import Attended

BLOCK_ROWS = 64


def merge(into: torch.Tensor, total: torch.Tensor, done: Attended) -> None:
    """Add a call's result to the running one in place: views into (B, g, m, d), total (B, g, m).

    On CUDA in one pass, if Triton is there.
    """
    if takes_triton(into):
        _launch(into, total, done)
        return
    merged = torch.logaddexp(total, done.lse)
    into.mul_((total - merged).exp_()[..., None])
    into.addcmul_(done.out.to(into.dtype), (done.lse - merged).exp_()[..., None])
    total.copy_(merged)


def takes_triton(t: torch.Tensor) -> bool:
    """Whether Triton's kernels run on this tensor: on CUDA, or anywhere in its interpreter."""
    return has_triton() and (t.is_cuda or interpreted())


def interpreted() -> bool:
    """Whether Triton interprets its kernels, which is how they are tested without a GPU."""
    return os.environ.get("TRITON_INTERPRET") == "1"


@cache
def has_triton() -> bool:
    """Whether Triton is installed; it comes with torch for CUDA on Linux."""
    return importlib.util.find_spec("triton") is not None


def _launch(into: torch.Tensor, total: torch.Tensor, done: Attended) -> None:
    from .triton_merge import merge_kernel

    outer, heads, rows, head_dim = into.shape
    width = 1 << (head_dim - 1).bit_length()
    blocks = -(-rows // BLOCK_ROWS)
    views = (into.stride()[:3], total.stride(), done.out.stride()[:3], done.lse.stride())
    merge_kernel[(outer * heads * blocks,)](
        into, total, done.out, done.lse, *chain.from_iterable(views), blocks, heads, rows,
        HEAD_DIM=head_dim, WIDTH=width, BLOCK_M=BLOCK_ROWS,
    )  # fmt: skip
