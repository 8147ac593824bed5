"""A schedule carried out: attention calls on views, merged by log-sum-exps; forward and backward.

No scores are ever held. Beyond inputs and output the forward needs the result of one call, one window in float32 where
rows are merged, and the log-sum-exps. The backward pass hands each call the merged result, so that the gradient is that
of the one softmax which the merged result is; autograd never sees a slice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import pad

from implementations.dilated_attention.pattern import Pattern
from implementations.kernels.schedule import Window, windows
from implementations.kernels.sdpa import Attended, Kernel, Tensors, kernel_for

CALL_BYTES = 64 * 2**20  # of output per call: a larger call fills any device, so splitting it by head costs nothing
CUDA_ALIGNMENT = 8  # elements: what the kernels on CUDA want head_dim and strides to be multiples of

Index = tuple[int | slice, ...]
EVERYTHING = slice(None)


@dataclass(frozen=True)
class Plan:
    """What to do for one pattern: the windows, what the mixture is multiplied by, and what the scores are."""

    windows: tuple[Window, ...]
    mixture: float
    scores: float

    @classmethod
    def of(cls, pattern: Pattern, head_dim: int, causal: bool, block: int | None = None) -> Plan:
        """In blocks of so many positions; None: one block."""
        return cls(windows(pattern, block or pattern.seq_len, causal), pattern.scale, head_dim**-0.5)


def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, plan: Plan) -> torch.Tensor:
    """Dilated attention of q, k, v, (b, n, H, d) each with any strides; differentiable; returns (b, n, H, d)."""
    head_dim = q.shape[-1]
    q, k, v = (_ready(t) for t in (q, k, v))
    out: torch.Tensor = _Merged.apply(q, k, v, plan)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return out if out.shape[-1] == head_dim else out[..., :head_dim]


class _Merged(torch.autograd.Function):
    """The plan, with a gradient of its own."""

    @staticmethod
    def forward(ctx: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, plan: Plan) -> torch.Tensor:
        out, sums, rests = _forward((q, k, v), plan, kernel_for(q.device, q.dtype))
        ctx.save_for_backward(q, k, v, out, sums)
        ctx.plan, ctx.rests = plan, rests
        return out

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        q, k, v, out, sums = ctx.saved_tensors
        found = _backward(_ready(grads[0]), (q, k, v), out, sums, ctx.plan, ctx.rests)
        return (*(grad if wanted else None for grad, wanted in zip(found, ctx.needs_input_grad, strict=False)), None)


def _forward(qkv: Tensors, plan: Plan, kernel: Kernel) -> tuple[torch.Tensor, torch.Tensor, list[tuple[Any, ...]]]:
    """Output, log-sum-exps (b, n, H) and what each call's backward wants back."""
    q, k, v = qkv
    out, rests = torch.zeros(q.shape, dtype=q.dtype, device=q.device), []
    sums = torch.full(q.shape[:3], -torch.inf, dtype=torch.float32, device=q.device)
    for window in plan.windows:
        acc = window.of(out)
        if window.merged and out.dtype != torch.float32:
            acc = torch.zeros(acc.shape, dtype=torch.float32, device=q.device)
        for part in window.parts:
            near = (part.view(q, part.rows), part.view(k, part.keys), part.view(v, part.keys))
            into, total = part.view(acc, part.rows, window.origin), part.view(sums, part.rows)
            for index in _calls(near):
                done = kernel.forward(_flat_all(near, index), part.causal, plan.scores)
                rests.append(done.rest)
                if window.merged:
                    _merge(into[index], total[index], done)
                else:
                    _write(into[index], total[index], done, plan.mixture)
        if window.merged:
            window.of(out).copy_(_scaled(acc, plan.mixture))
    return out, sums, rests


def _merge(into: torch.Tensor, total: torch.Tensor, done: Attended) -> None:
    """Add one call's result to the running one, in float32."""
    more = _unflat(done.lse[..., None], (*total.shape, 1)).squeeze(-1)
    merged = torch.logaddexp(total, more)
    into.mul_((total - merged).exp_()[..., None])
    into.add_(_unflat(done.out, into.shape) * (more - merged).exp_()[..., None])
    total.copy_(merged)


def _write(into: torch.Tensor, total: torch.Tensor, done: Attended, mixture: float) -> None:
    """Keep one call's result, the only one for its rows."""
    torch.mul(_unflat(done.out, into.shape), mixture, out=into)
    total.copy_(_unflat(done.lse[..., None], (*total.shape, 1)).squeeze(-1))


def _backward(
    grad: torch.Tensor,
    qkv: Tensors,
    out: torch.Tensor,
    sums: torch.Tensor,
    plan: Plan,
    rests: list[tuple[Any, ...]],
) -> Tensors:
    """Gradients of q, k and v; in float32 until all calls have added to them, where several do."""
    q, k, v = qkv
    kernel, rest = kernel_for(q.device, q.dtype), iter(rests)
    held = torch.float32 if any(window.merged for window in plan.windows) else q.dtype
    dq, dk, dv = (torch.zeros(t.shape, dtype=held, device=t.device) for t in (q, k, v))
    for window in plan.windows:
        for part in window.parts:
            near = (part.view(q, part.rows), part.view(k, part.keys), part.view(v, part.keys))
            into = (part.view(dq, part.rows), part.view(dk, part.keys), part.view(dv, part.keys))
            upstream, result, total = (part.view(t, part.rows) for t in (grad, out, sums))
            for index in _calls(near):
                done = Attended(_scaled(_flat(result[index]), 1 / plan.mixture), _flat_sums(total[index]), next(rest))
                wanted = _scaled(_flat(upstream[index]), plan.mixture)
                found = kernel.backward(wanted, _flat_all(near, index), done, part.causal, plan.scores)
                for target, gradient in zip(into, found, strict=True):
                    place = target[index]
                    place.add_(_unflat(gradient, place.shape))
    return dq.to(q.dtype), dk.to(q.dtype), dv.to(q.dtype)


def _calls(views: Tensors) -> Iterator[Index]:
    """How to cut (b, J, m, g, d) views so that batch entries and segments merge into one dimension without a copy."""
    batch, segments, _, heads, _ = views[0].shape
    each = max(1, -(-heads * CALL_BYTES // max(1, views[0].numel() * views[0].element_size())))
    if batch == 1 or segments == 1 or all(t.stride(0) == segments * t.stride(1) for t in views):
        outer: list[Index] = [(EVERYTHING, EVERYTHING)]
    elif batch <= segments:
        outer = [(entry, EVERYTHING) for entry in range(batch)]
    else:
        outer = [(EVERYTHING, segment) for segment in range(segments)]
    for first in range(0, heads, each):
        for index in outer:
            yield (*index, EVERYTHING, slice(first, min(first + each, heads)))


def _flat_all(views: Tensors, index: Index) -> Tensors:
    return _flat(views[0][index]), _flat(views[1][index]), _flat(views[2][index])


def _flat(t: torch.Tensor) -> torch.Tensor:
    """(b, J, m, g, d) or (B, m, g, d) -> (B, g, m, d), a view."""
    return (t.flatten(0, 1) if t.dim() == 5 else t).transpose(1, 2)


def _flat_sums(t: torch.Tensor) -> torch.Tensor:
    """(b, J, m, g) or (B, m, g) -> (B, g, m)."""
    return (t.flatten(0, 1) if t.dim() == 4 else t).transpose(1, 2)


def _unflat(t: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """(B, g, m, d) -> (b, J, m, g, d) or (B, m, g, d)."""
    rows = t.transpose(1, 2)
    return rows if len(shape) == 4 else rows.view(shape)


def _scaled(t: torch.Tensor, factor: float) -> torch.Tensor:
    return t if factor == 1 else t * factor


def _ready(t: torch.Tensor) -> torch.Tensor:
    """The tensor as the kernels take it: rows contiguous; on CUDA padded and aligned. Nothing is copied if it is so."""
    if t.device.type == "cuda":
        if t.shape[-1] % CUDA_ALIGNMENT:
            t = pad(t, (0, -t.shape[-1] % CUDA_ALIGNMENT))
        if t.data_ptr() % 16 or any(stride % CUDA_ALIGNMENT for stride in t.stride()[:-1]):
            return t.clone(memory_format=torch.contiguous_format)
    return t if t.stride(-1) == 1 else t.contiguous()
