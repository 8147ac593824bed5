"""All branches of dilated attention in one launch; the backward pass in two.

So it is where no head takes two branches; where one does, see `fused_lse`.

The host's share of a call: one output, one launch. What depends on shapes and strides alone is
worked out once.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from math import e, gcd, log, log2
from typing import Any

import torch

from ..dilated_attention.pattern import Pattern
from .blocks import Blocks
from .launch import Launch
from .tiles import Tiles

Tensors = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
Scalars = tuple[float, ...]

# The tensor cores cut both operands to tf32 instead of rounding them, which makes each smaller by 2
# ** -11 / (2 ln 2) on average over mantissas (evenly spread in the logarithm) and every product by
# the square of that: undone by this factor, which brings the error of the output from 1.5e-3 to
# 5e-4, that of rounding.
TF32_GAIN = (1 + 2**-11 / (2 * log(2))) ** 2
_HERE = nullcontext()
# Elements that strides are counted in, at most: that a row starts at a multiple of so many is what
# lets a kernel read 16 bytes at a time. Triton finds it out only of strides divisible by 16.
UNIT = 16
ALIGNMENT = 16  # bytes: rows that start at multiples of it are read 16 bytes at a time


def products(precision: str) -> str:
    """How Triton multiplies float32: three tf32 products give full accuracy at twice its speed."""
    return "tf32" if precision == "tf32" else "tf32x3"


@dataclass(frozen=True)
class FusedPlan:
    """What does not change from call to call.

    Attributes:
        precision: of products of float32: "ieee", "tf32x3" (three tf32 products, as accurate) or
            "tf32".
        forward: blocks of the forward kernel.
        backward: blocks of the backward kernel.
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

    @cached_property
    def rows(self) -> int:
        """Selected rows of all heads, per batch entry."""
        return sum(
            self.pattern.seq_len // p.segment_length * p.heads * p.selected
            for p in self.pattern.pieces
        )

    def layout(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> Layout:
        """The launches for inputs laid out like these."""
        if not (q.shape == k.shape == v.shape and q.dtype == k.dtype == v.dtype):
            found = ", ".join(f"{tuple(t.shape)} {t.dtype}" for t in (q, k, v))
            raise ValueError(f"q, k and v must have one shape and dtype; they have {found}")
        aligned = (q.data_ptr() | k.data_ptr() | v.data_ptr()) % ALIGNMENT == 0
        key = (q.shape, q.stride(), k.stride(), v.stride(), q.dtype, q.device, aligned)
        layout = self.layouts.get(key)
        if layout is None:
            layout = self.layouts[key] = self._laid_out((q, k, v), aligned)
        return layout

    def _laid_out(self, qkv: Tensors, aligned: bool) -> Layout:
        return Layout(self, qkv, aligned)


class Layout:
    """The launches of a plan for inputs of one shape and layout.

    Attributes:
        carries: whether the forward pass itself needs log-sum-exps.
        parts: whether kernels write the selected rows of each piece side by side.
    """

    carries = False
    parts = False

    def __init__(self, plan: FusedPlan, qkv: Tensors, aligned: bool) -> None:
        self.plan, self.aligned = plan, aligned
        self.device, self.shape = qkv[0].device, qkv[0].shape
        built = (plan.pattern.seq_len, plan.pattern.heads, plan.head_dim)
        if self.shape[1:] != built:
            raise ValueError(
                f"this attention was built for (batch, {', '.join(map(str, built))}), not {(*self.shape,)}"
            )
        self.strides = tuple(chain.from_iterable(t.stride()[:3] for t in qkv))
        self.unit = gcd(UNIT, *self.strides)
        self.scalars = (self.shape[0], plan.pattern.seq_len, plan.pattern.heads)
        width = max(16, 1 << (plan.head_dim - 1).bit_length())
        self.common = {"HEAD_DIM": plan.head_dim, "WIDTH": width}
        gain = TF32_GAIN if plan.precision == "tf32" and qkv[0].dtype == torch.float32 else 1.0
        scale, mixture = plan.head_dim**-0.5 * gain, plan.pattern.scale * gain
        self.forward_scalars = (
            *self.counted(self.strides),
            *self.scalars,
            scale * log2(e),
            mixture,
        )
        self.backward_scalars = (*self.scalars, scale * log2(e), scale, mixture)
        self._forward: dict[bool, Launch] = {}

    def _tiles(self, blocks: Blocks) -> tuple[Tiles, torch.Tensor]:
        tiles = Tiles.of(self.plan.pattern, self.shape[0], blocks.block_m, blocks.block_n)
        return tiles, torch.tensor(tiles.table, dtype=torch.int32, device=self.device)

    def counted(self, strides: tuple[int, ...], unit: int | None = None) -> tuple[int, ...]:
        """Strides in units, as the kernels take them."""
        return tuple(stride // (unit or self.unit) for stride in strides)

    def wide(self, blocks: Blocks, strides: tuple[int, ...]) -> bool:
        """Whether offsets within a block of rows need 64 bits."""
        rate = max(piece.rate for piece in self.plan.pattern.pieces)
        return max(blocks.block_m, blocks.block_n) * rate * max(strides[1::3]) >= 2**31

    def attend(self, qkv: Tensors, out: torch.Tensor, lse: torch.Tensor, keep: bool) -> None:
        """Fill in the output and, to keep them, log-sum-exps."""
        self.forward(keep)(*qkv, out, lse, self.front[1], *self.forward_scalars)

    @cached_property
    def front(self) -> tuple[Tiles, torch.Tensor]:
        """The tiles of the forward kernel and their table."""
        return self._tiles(self.plan.forward)

    def forward(self, keep: bool) -> Launch:
        """The forward kernel, which may keep log-sum-exps."""
        if keep not in self._forward:
            from .triton_forward import forward_kernel

            blocks, plan, (tiles, _) = self.plan.forward, self.plan, self.front
            constants = {
                "PIECES": tiles.pieces,
                **self.common,
                "UNIT": self.unit,
                "BLOCK_M": blocks.block_m,
                "BLOCK_N": blocks.block_n,
                "CAUSAL": plan.causal,
                "EVEN": tiles.even,
                "WIDE": self.wide(blocks, self.strides),
                "KEEP": keep,
                "PRECISION": plan.precision,
                "PARTS": self.parts,
            }
            grid = (tiles.count, 1, 1)
            self._forward[keep] = Launch(
                forward_kernel, grid, constants, blocks.options, reuse=self.aligned
            )
        return self._forward[keep]

    @cached_property
    def back(self) -> tuple[Tiles, torch.Tensor]:
        """The tiles of the backward kernels and their table."""
        return self._tiles(self.plan.backward)

    def backward(self, step: tuple[int, ...]) -> tuple[Launch, Launch]:
        """The kernels of delta and of the gradients, for an incoming gradient of these strides."""
        from .triton_backward import backward_kernel, delta_kernel

        plan, blocks, (tiles, _) = self.plan, self.plan.backward, self.back
        unit = gcd(self.unit, *step)
        rows = {"PIECES": tiles.pieces, **self.common, "UNIT": unit, "BLOCK_M": blocks.block_m}
        wide = self.wide(blocks, (*self.strides, *step))
        both = {"BLOCK_N": blocks.block_n, "CAUSAL": plan.causal, "EVEN": tiles.even, "WIDE": wide}
        constants = {**rows, **both, "PRECISION": plan.precision, "PARTS": self.parts}
        delta = Launch(delta_kernel, (tiles.count, 1, 1), rows, {"num_warps": 4}, reuse=False)
        return delta, Launch(
            backward_kernel, (tiles.count, 2, 1), constants, blocks.options, reuse=False
        )

    def differentiate(
        self, gradients: Launch, asked: tuple[torch.Tensor, ...], found: Tensors, scalars: Scalars
    ) -> None:
        """Fill in dq, dk and dv by the kernel of the gradients; asked: what it reads."""
        gradients(*asked, *found, self.back[1], *scalars)


def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, plan: FusedPlan) -> torch.Tensor:
    """Dilated attention of q, k, v, each (b, n, H, d); returns (b, n, H, d); differentiable."""
    if torch.is_grad_enabled() and (q.requires_grad or k.requires_grad or v.requires_grad):
        out: torch.Tensor = _Fused.apply(q, k, v, plan)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return out
    return forward(q, k, v, plan)[0]


class _Fused(torch.autograd.Function):
    """The plan, with a gradient of its own."""

    @staticmethod
    def forward(
        ctx: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, plan: FusedPlan
    ) -> torch.Tensor:
        out, lse = forward(q, k, v, plan, keep=True)
        ctx.save_for_backward(q, k, v, out, lse)
        ctx.plan = plan
        return out

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        q, k, v, out, lse = ctx.saved_tensors
        found = backward(grads[0], (q, k, v), out, lse, ctx.plan)
        return (
            *(
                grad if wanted else None
                for grad, wanted in zip(found, ctx.needs_input_grad, strict=False)
            ),
            None,
        )


def forward(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, plan: FusedPlan, keep: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Output, and log-sum-exps (rows,) for the backward pass, in order of `tiles.compact_rows`."""
    q, k, v = _rows_contiguous(q), _rows_contiguous(k), _rows_contiguous(v)
    layout = plan.layout(q, k, v)
    out = lse = torch.empty(layout.shape, dtype=q.dtype, device=layout.device)
    if keep or layout.carries:
        lse = torch.empty(layout.shape[0] * plan.rows, dtype=torch.float32, device=layout.device)
    with _on(layout.device):
        layout.attend((q, k, v), out, lse, keep)
    return out, lse


def backward(
    grad: torch.Tensor, qkv: Tensors, out: torch.Tensor, lse: torch.Tensor, plan: FusedPlan
) -> Tensors:
    """Gradients of q, k and v."""
    q, k, v, grad = (_rows_contiguous(t) for t in (*qkv, grad))
    layout = plan.layout(q, k, v)
    step, table = grad.stride()[:3], layout.back[1]
    delta_of, gradients = layout.backward(step)
    unit = gcd(layout.unit, *step)
    grad_strides = layout.counted(step, unit)
    delta = torch.empty_like(lse)
    dq, dk, dv = (torch.empty(q.shape, dtype=q.dtype, device=q.device) for _ in range(3))
    asked, strides = (q, k, v, grad, lse, delta), layout.counted(layout.strides, unit)
    scalars = (*strides, *grad_strides, *layout.backward_scalars)
    with _on(layout.device):
        delta_of(out, grad, delta, table, *grad_strides, *layout.scalars)
        layout.differentiate(gradients, asked, (dq, dk, dv), scalars)
    return dq, dk, dv


def _on(device: torch.device) -> AbstractContextManager[Any]:
    """The device as the current one, which Triton launches on; nothing to do where it is."""
    if device.type != "cuda" or device.index == torch.cuda.current_device():
        return _HERE
    return torch.cuda.device(device)


def _rows_contiguous(t: torch.Tensor) -> torch.Tensor:
    """Features side by side, as the kernels take them; nothing is copied if it is so."""
    return t if t.stride(-1) == 1 else t.contiguous()
