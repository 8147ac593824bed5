"""All branches of dilated attention under head_groups in one launch; the backward pass in two, or by torch's kernels.

The host's share of a call: one output, one launch. What depends on shapes and strides alone is worked out once.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from math import e, log2
from typing import Any

import torch

from implementations.dilated_attention.pattern import Pattern, Piece
from implementations.kernels import merge
from implementations.kernels.blocks import Blocks
from implementations.kernels.calls import Call
from implementations.kernels.launch import Launch
from implementations.kernels.sdpa import Attended
from implementations.kernels.tiles import Tiles, compact_rows

Tensors = tuple[torch.Tensor, torch.Tensor, torch.Tensor]

_HERE = nullcontext()
ALIGNMENT = 16  # bytes: rows that start at multiples of it are read 16 bytes at a time


@dataclass(frozen=True)
class FusedPlan:
    """What does not change from call to call.

    Attributes:
        precision: of products of float32: "ieee", "tf32x3" (three tf32 products, as accurate) or "tf32".
        forward: blocks of the forward kernel.
        backward: blocks of the backward kernel; None: one call per branch of the kernel that suits it (see `merge`).
    """

    pattern: Pattern
    head_dim: int
    causal: bool
    precision: str
    forward: Blocks
    backward: Blocks | None

    @cached_property
    def layouts(self) -> dict[Any, Layout]:
        """By shape, strides, dtype and device of q, k and v."""
        return {}

    @cached_property
    def views(self) -> merge.Plan:
        """The calls per branch of the same problem."""
        return merge.Plan(self.pattern, self.head_dim, self.causal, tf32=self.precision == "tf32")

    @cached_property
    def first_rows(self) -> dict[Piece, int]:
        """Where each piece starts among all selected rows, per batch entry."""
        return compact_rows(self.pattern)

    @cached_property
    def rows(self) -> int:
        """Selected rows of all heads, per batch entry."""
        return sum(self.pattern.seq_len // p.segment_length * p.heads * p.selected for p in self.pattern.pieces)

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
        self.plan, self.aligned = plan, aligned
        self.device, self.shape = qkv[0].device, qkv[0].shape
        self.strides = tuple(stride for t in qkv for stride in t.stride()[:3])
        self.scalars = (self.shape[0], plan.pattern.seq_len, plan.pattern.heads)
        width = max(16, 1 << (plan.head_dim - 1).bit_length())
        self.common = {"HEAD_DIM": plan.head_dim, "WIDTH": width}
        scale = plan.head_dim**-0.5
        self.forward_scalars = (*self.strides, *self.scalars, scale * log2(e), plan.pattern.scale)
        self.backward_scalars = (*self.scalars, scale * log2(e), scale, plan.pattern.scale)
        self.tiles, self.table = self._tiles(plan.forward)
        self._forward: dict[tuple[bool, bool], Launch] = {}

    def _tiles(self, blocks: Blocks) -> tuple[Tiles, torch.Tensor]:
        tiles = Tiles.of(self.plan.pattern, self.shape[0], blocks.block_m, blocks.block_n)
        return tiles, torch.tensor(tiles.table, dtype=torch.int32, device=self.device)

    def forward(self, keep_lse: bool, keep_result: bool) -> Launch:
        """The forward kernel."""
        key = (keep_lse, keep_result)
        if key not in self._forward:
            from implementations.kernels.triton_forward import forward_kernel

            blocks, plan = self.plan.forward, self.plan
            constants = {
                "PIECES": self.tiles.pieces,
                **self.common,
                "BLOCK_M": blocks.block_m,
                "BLOCK_N": blocks.block_n,
                "CAUSAL": plan.causal,
                "EVEN": self.tiles.even,
                "KEEP_LSE": keep_lse,
                "KEEP_RESULT": keep_result,
                "PRECISION": plan.precision,
            }
            grid = (self.tiles.count, 1, 1)
            self._forward[key] = Launch(forward_kernel, grid, constants, blocks.options, reuse=self.aligned)
        return self._forward[key]

    @cached_property
    def backward(self) -> tuple[Launch, Launch, torch.Tensor]:
        """The kernels of delta and of the gradients, and their table."""
        from implementations.kernels.triton_backward import backward_kernel, delta_kernel

        plan, blocks = self.plan, self.plan.backward
        assert blocks is not None
        tiles, table = self._tiles(blocks)
        rows = {"PIECES": tiles.pieces, **self.common, "BLOCK_M": blocks.block_m}
        both = {**rows, "BLOCK_N": blocks.block_n, "CAUSAL": plan.causal, "PRECISION": plan.precision}
        delta = Launch(delta_kernel, (tiles.count, 1, 1), rows, {"num_warps": 4}, reuse=False)
        return delta, Launch(backward_kernel, (tiles.count, 2, 1), both, blocks.options, reuse=False), table


def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, plan: FusedPlan) -> torch.Tensor:
    """Dilated attention of q, k, v, (b, n, H, d) each with any strides; differentiable; returns (b, n, H, d)."""
    if torch.is_grad_enabled() and (q.requires_grad or k.requires_grad or v.requires_grad):
        out: torch.Tensor = _Fused.apply(q, k, v, plan)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return out
    return forward(q, k, v, plan)[0]


class _Fused(torch.autograd.Function):
    """The plan, with a gradient of its own."""

    @staticmethod
    def forward(ctx: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, plan: FusedPlan) -> torch.Tensor:
        out, lse, result = forward(q, k, v, plan, keep=True)
        ctx.save_for_backward(q, k, v, out if plan.backward else result, lse)
        ctx.plan = plan
        return out

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        q, k, v, out, lse = ctx.saved_tensors
        found = backward(grads[0], (q, k, v), out, lse, ctx.plan)
        return (*(grad if wanted else None for grad, wanted in zip(found, ctx.needs_input_grad, strict=False)), None)


def forward(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, plan: FusedPlan, keep: bool = False) -> Tensors:
    """Output and, to keep for the backward pass, log-sum-exps (rows,) and results (rows, d) before the factor 1 / G.

    Both are in the order of `tiles.compact_rows`, and stand-ins where nothing is kept. Only torch's kernels want the
    results.
    """
    q, k, v = _rows_contiguous(q), _rows_contiguous(k), _rows_contiguous(v)
    layout = plan.layout(q, k, v)
    out = torch.empty(layout.shape, dtype=q.dtype, device=layout.device)
    lse = result = out
    if keep:
        rows = layout.shape[0] * plan.rows
        lse = torch.empty(rows, dtype=torch.float32, device=layout.device)
        result = out if plan.backward else torch.empty((rows, plan.head_dim), dtype=q.dtype, device=layout.device)
    with _on(layout.device):
        layout.forward(keep, result is not out)(q, k, v, out, lse, result, layout.table, *layout.forward_scalars)
    return out, lse, result


def backward(grad: torch.Tensor, qkv: Tensors, kept: torch.Tensor, lse: torch.Tensor, plan: FusedPlan) -> Tensors:
    """Gradients of q, k and v; kept is the output, or the results where torch's kernels take the backward pass."""
    if plan.backward is None:
        near = merge.ready(qkv[0]), merge.ready(qkv[1]), merge.ready(qkv[2])
        calls = [call for _, calls in plan.views.calls(near) for call in calls]
        parts = [Attended(_share(kept, call, plan), _share(lse[:, None], call, plan)[..., 0]) for call in calls]
        return merge.backward(grad.contiguous(), near, None, None, plan.views, parts)
    q, k, v, grad = (_rows_contiguous(t) for t in (*qkv, grad))
    layout = plan.layout(q, k, v)
    delta_of, gradients, table = layout.backward
    delta = torch.empty_like(lse)
    dq, dk, dv = (torch.empty(q.shape, dtype=q.dtype, device=q.device) for _ in range(3))
    step = grad.stride()[:3]
    with _on(layout.device):
        delta_of(kept, grad, delta, table, *step, *layout.scalars)
        gradients(q, k, v, grad, lse, delta, dq, dk, dv, table, *layout.strides, *step, *layout.backward_scalars)
    return dq, dk, dv


def _share(rows: torch.Tensor, call: Call, plan: FusedPlan) -> torch.Tensor:
    """(B, g, m, ...) of one call, from all selected rows (rows, ...)."""
    piece, cut = call.part.piece, call.cut
    segments = plan.pattern.seq_len // piece.segment_length
    batch = rows.shape[0] // plan.rows
    first, count = plan.first_rows[piece] * batch, batch * segments * piece.heads * piece.selected
    share = rows[first : first + count].view(batch, segments, piece.heads, piece.selected, -1)
    if cut.entry is not None:
        share = share[cut.entry : cut.entry + 1]
    if cut.segment is not None:
        share = share[:, cut.segment : cut.segment + 1]
    return share[:, :, cut.heads[0] : cut.heads[1]].flatten(0, 1).contiguous()


def _on(device: torch.device) -> AbstractContextManager[Any]:
    """The device as the current one, which Triton launches on; nothing to do where it is."""
    if device.type != "cuda" or device.index == torch.cuda.current_device():
        return _HERE
    return torch.cuda.device(device)


def _rows_contiguous(t: torch.Tensor) -> torch.Tensor:
    """Features side by side, as the kernels take them; nothing is copied if it is so."""
    return t if t.stride(-1) == 1 else t.contiguous()
