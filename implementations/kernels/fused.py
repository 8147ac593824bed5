"""All branches of dilated attention under head_groups in one launch; the backward pass in two.

The host's share of a call: one output, one launch. What depends on shapes and strides alone is worked out once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import e, log2
from typing import Any

import torch

from implementations.dilated_attention.pattern import Pattern
from implementations.kernels.blocks import Blocks
from implementations.kernels.launch import Launch
from implementations.kernels.tiles import Tiles

Tensors = tuple[torch.Tensor, torch.Tensor, torch.Tensor]

ALIGNMENT = 16  # bytes: rows that start at multiples of it are read 16 bytes at a time


@dataclass(frozen=True)
class FusedPlan:
    """What does not change from call to call.

    Attributes:
        precision: of products of float32: "ieee", "tf32x3" (three tf32 products, as accurate) or "tf32".
        forward, backward: blocks of the kernels.
    """

    pattern: Pattern
    head_dim: int
    causal: bool
    precision: str
    forward: Blocks
    backward: Blocks

    @cached_property
    def layouts(self) -> dict[Any, Layout]:
        """By shape, strides, dtype and device of q, k and v."""
        return {}

    def layout(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> Layout:
        """The launches for inputs laid out like these."""
        aligned = (q.data_ptr() | k.data_ptr() | v.data_ptr()) % ALIGNMENT == 0
        key = (q.shape, q.stride(), k.stride(), v.stride(), q.dtype, q.device, aligned)
        found = self.layouts.get(key)
        if found is None:
            found = self.layouts[key] = Layout(self, (q, k, v), aligned)
        return found


class Layout:
    """The launches of a plan for inputs of one shape and layout."""

    def __init__(self, plan: FusedPlan, qkv: Tensors, aligned: bool) -> None:
        from implementations.kernels.triton_backward import backward_kernel, delta_kernel
        from implementations.kernels.triton_forward import forward_kernel

        self.plan, self.aligned = plan, aligned
        q = qkv[0]
        self.device, self.shape = q.device, q.shape
        pattern, forward, backward = plan.pattern, plan.forward, plan.backward
        self.strides = tuple(stride for t in qkv for stride in t.stride()[:3])
        self.scalars = (pattern.seq_len, pattern.heads)
        width = max(16, 1 << (plan.head_dim - 1).bit_length())
        common = {"HEAD_DIM": plan.head_dim, "WIDTH": width}
        tiles = Tiles.of(pattern, q.shape[0], forward.block_m, forward.block_n)
        self.table = torch.tensor(tiles.table, dtype=torch.int32, device=q.device)
        self.forward = {
            keep: Launch(
                forward_kernel,
                (tiles.count, 1, 1),
                {
                    "PIECES": tiles.pieces,
                    **common,
                    "BLOCK_M": forward.block_m,
                    "BLOCK_N": forward.block_n,
                    "CAUSAL": plan.causal,
                    "EVEN": tiles.even,
                    "KEEP": keep,
                    "PRECISION": plan.precision,
                },
                forward.options,
                reuse=aligned,
            )
            for keep in (False, True)
        }
        back = Tiles.of(pattern, q.shape[0], backward.block_m, backward.block_n)
        self.back_table = torch.tensor(back.table, dtype=torch.int32, device=q.device)
        rows = {"PIECES": back.pieces, **common, "BLOCK_M": backward.block_m}
        self.delta = Launch(delta_kernel, (back.count, 1, 1), rows, {"num_warps": 4}, reuse=False)
        self.gradients = Launch(
            backward_kernel,
            (back.count, 2, 1),
            {**rows, "BLOCK_N": backward.block_n, "CAUSAL": plan.causal, "PRECISION": plan.precision},
            backward.options,
            reuse=False,
        )


def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, plan: FusedPlan) -> torch.Tensor:
    """Dilated attention of q, k, v, (b, n, H, d) each with any strides; differentiable; returns (b, n, H, d)."""
    if torch.is_grad_enabled() and (q.requires_grad or k.requires_grad or v.requires_grad):
        out: torch.Tensor = _Fused.apply(q, k, v, plan)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return out
    return forward(q, k, v, plan, False)[0]


class _Fused(torch.autograd.Function):
    """The plan, with a gradient of its own."""

    @staticmethod
    def forward(ctx: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, plan: FusedPlan) -> torch.Tensor:
        out, lse = forward(q, k, v, plan, True)
        ctx.save_for_backward(q, k, v, out, lse)
        ctx.plan = plan
        return out

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        q, k, v, out, lse = ctx.saved_tensors
        found = backward(grads[0], (q, k, v), out, lse, ctx.plan)
        return (*(grad if wanted else None for grad, wanted in zip(found, ctx.needs_input_grad, strict=False)), None)


def forward(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, plan: FusedPlan, keep: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Output and, to keep for the backward pass, base-2 log-sum-exps (b, H, n) in the kernels' order."""
    q, k, v = _rows_contiguous(q), _rows_contiguous(k), _rows_contiguous(v)
    layout = plan.layout(q, k, v)
    out = torch.empty(layout.shape, dtype=q.dtype, device=layout.device)
    lse = out
    if keep:
        lse = torch.empty(lse_shape(q.shape), dtype=torch.float32, device=layout.device)
    layout.forward[keep](
        q,
        k,
        v,
        out,
        lse,
        layout.table,
        *layout.strides,
        *layout.scalars,
        plan.head_dim**-0.5 * log2(e),
        plan.pattern.scale,
    )
    return out, lse


def lse_shape(shape: torch.Size) -> tuple[int, int, int]:
    """(b, H, n) of (b, n, H, d)."""
    return shape[0], shape[2], shape[1]


def backward(grad: torch.Tensor, qkv: Tensors, out: torch.Tensor, lse: torch.Tensor, plan: FusedPlan) -> Tensors:
    """Gradients of q, k and v."""
    q, k, v, grad = (_rows_contiguous(t) for t in (*qkv, grad))
    layout = plan.layout(q, k, v)
    delta = torch.empty_like(lse)
    dq, dk, dv = (torch.empty(q.shape, dtype=q.dtype, device=q.device) for _ in range(3))
    scale, step = plan.head_dim**-0.5, grad.stride()[:3]
    layout.delta(out, grad, delta, layout.back_table, *step, *layout.scalars)
    layout.gradients(
        q, k, v, grad, lse, delta, dq, dk, dv, layout.back_table, *layout.strides, *step, *layout.scalars,
        scale * log2(e), scale, plan.pattern.scale,
    )  # fmt: skip
    return dq, dk, dv


def _rows_contiguous(t: torch.Tensor) -> torch.Tensor:
    """Features side by side, as the kernels take them; nothing is copied if it is so."""
    return t if t.stride(-1) == 1 else t.contiguous()
