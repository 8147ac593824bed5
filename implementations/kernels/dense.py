"""Chooses the kernels for one set of keys: torch's own, or the fused ones where faster.

In float32 the fused kernel multiplies on the tensor cores (three tf32 products for one of full
accuracy, or one where tf32 is asked for); torch's memory-efficient kernel does not.
"""

from __future__ import annotations

from functools import lru_cache

import torch

from ..choice import MEASURED_WIDTH, NARROW
from ..dilated_attention.pattern import Pattern
from ..kernels import fused
from .blocks import backward_blocks, forward_blocks
from .online import takes_triton
from .sdpa import Attended, Kernel, Tensors, kernel_for

FLOAT = 4  # bytes


def dense_kernel(
    q: torch.Tensor, k: torch.Tensor, head_dim: int, tf32: bool, backward: bool = False
) -> Kernel:
    """The kernel for q (B, g, m, d) and k (B, g, m', d); features beyond head_dim are padding."""
    outer, heads, rows, width = q.shape
    square = rows == k.shape[2] and width == head_dim
    faster = q.dtype == torch.float32 and head_dim <= (MEASURED_WIDTH if tf32 else NARROW)
    eager = not torch.compiler.is_compiling()  # a graph takes torch's operators, not a launch
    if square and faster and eager and takes_triton(q):
        return _fused(outer, heads, rows, head_dim, tf32)
    return kernel_for(q, k, backward)


@lru_cache(maxsize=256)
def _fused(outer: int, heads: int, rows: int, head_dim: int, tf32: bool) -> Kernel:
    """Calls of this size as dilated attention of one segment at rate 1."""
    pattern, precision = Pattern(rows, heads, (rows,), (1,)), "tf32" if tf32 else "ieee"

    @lru_cache
    def plan(causal: bool) -> fused.FusedPlan:
        forward = forward_blocks(pattern, outer, head_dim, FLOAT, causal, precision)
        backward = backward_blocks(head_dim, FLOAT, precision)
        return fused.FusedPlan(
            pattern, head_dim, causal, fused.products(precision), forward, backward
        )

    def forward(qkv: Tensors, causal: bool, _scale: float) -> Attended:
        q, k, v = _rows_first(*qkv)
        out, lse = fused.forward(q, k, v, plan(causal), keep=True)
        return Attended(out.transpose(1, 2), lse.view(outer, heads, rows))

    def backward(
        grad: torch.Tensor, qkv: Tensors, done: Attended, causal: bool, _scale: float
    ) -> Tensors:
        grad, out, q, k, v = _rows_first(grad, done.out, *qkv)
        found = fused.backward(
            grad, (q, k, v), out.contiguous(), done.lse.contiguous(), plan(causal)
        )
        dq, dk, dv = _rows_first(*found)
        return dq, dk, dv

    return Kernel("fused", forward, backward)


def _rows_first(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """(B, g, m, d) <-> (B, m, g, d): views."""
    return tuple(t.transpose(1, 2) for t in tensors)
