"""A schedule carried out: attention calls on views, merged by log-sum-exps; forward and backward.

No scores are ever held. Beyond inputs and output the forward needs the result of one call, one window in float32 where
rows are merged, and the log-sum-exps. The backward pass hands each call the merged result, so that the gradient is that
of the one softmax which the merged result is; autograd never sees a slice.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.nn.functional import pad

from implementations.dilated_attention.pattern import Pattern
from implementations.kernels.calls import Call, calls_of
from implementations.kernels.lanes import lanes
from implementations.kernels.online import merge
from implementations.kernels.place import fills, place
from implementations.kernels.precision import matmul_precision
from implementations.kernels.schedule import Window, windows
from implementations.kernels.sdpa import Attended, Tensors, kernel_for

CUDA_ALIGNMENT = 8  # elements: what the kernels on CUDA want head_dim and strides to be multiples of

SIDE_BY_SIDE = 16  # calls at most: their results are held at the same time

Scheduled = tuple[tuple[Window, tuple[Call, ...]], ...]


class Plan:
    """What to do for one pattern, in blocks of so many positions (None: one block).

    Attributes:
        windows: the schedule.
        merges: whether any row takes several calls.
        mixture: what the mixture of branches is multiplied by.
        scores: what the scores are multiplied by.
        tf32: whether products of float32 on CUDA may be in tf32.
    """

    def __init__(
        self, pattern: Pattern, head_dim: int, causal: bool, block: int | None = None, tf32: bool = False
    ) -> None:
        self.windows = windows(pattern, block or pattern.seq_len, causal)
        self.merges = any(window.merged for window in self.windows)
        self.mixture = pattern.scale
        self.scores = head_dim**-0.5
        self.tf32 = tf32
        self._calls: dict[Any, Scheduled] = {}

    def calls(self, qkv: Tensors) -> Scheduled:
        """The windows and their calls for inputs laid out like these; worked out once per layout."""
        shape, strides = tuple(qkv[0].shape), (qkv[0].stride(), qkv[1].stride(), qkv[2].stride())
        key = (shape, strides, qkv[0].element_size())
        if key not in self._calls:
            self._calls[key] = tuple((window, calls_of(window, *key)) for window in self.windows)
        return self._calls[key]

    def places(self, qkv: Tensors) -> bool:
        """Whether `place` alone writes every byte of the gradients: each row in one call, with its whole segment."""
        scheduled = self.calls(qkv)
        return not self.merges and all(
            window.whole and fills(call, qkv[0]) for window, calls in scheduled for call in calls
        )

    def side_by_side(self, qkv: Tensors) -> bool:
        """Whether calls may run at once: few, on CUDA, no two of which write the same rows."""
        count = sum(len(calls) for _, calls in self.calls(qkv))
        return qkv[0].is_cuda and 1 < count <= SIDE_BY_SIDE and self.places(qkv)

    def precision(self, t: torch.Tensor) -> AbstractContextManager[None]:
        """The plan's precision where it has a meaning."""
        return matmul_precision(self.tf32) if t.is_cuda and t.dtype == torch.float32 else nullcontext()


def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, plan: Plan) -> torch.Tensor:
    """Dilated attention of q, k, v, (b, n, H, d) each with any strides; differentiable; returns (b, n, H, d)."""
    head_dim = q.shape[-1]
    q, k, v = ready(q), ready(k), ready(v)
    if torch.is_grad_enabled() and (q.requires_grad or k.requires_grad or v.requires_grad):
        out: torch.Tensor = _Merged.apply(q, k, v, plan)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    else:
        out, _, _ = forward((q, k, v), plan)
    return out if out.shape[-1] == head_dim else out[..., :head_dim]


class _Merged(torch.autograd.Function):
    """The plan, with a gradient of its own."""

    @staticmethod
    def forward(ctx: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, plan: Plan) -> torch.Tensor:
        parts: list[Attended] = []
        out, sums, _ = forward((q, k, v), plan, keep=plan.merges, parts=parts)
        merged = (out, sums) if plan.merges else ()
        ctx.save_for_backward(q, k, v, *(t for part in parts for t in (part.out, part.lse)), *merged)
        ctx.plan = plan
        return out

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        q, k, v, *saved = ctx.saved_tensors
        plan: Plan = ctx.plan
        out, sums = saved[-2:] if plan.merges else (None, None)
        held = saved[:-2] if plan.merges else saved
        parts = [Attended(*pair) for pair in zip(held[::2], held[1::2], strict=True)]
        found = backward(grads[0].contiguous(), (q, k, v), out, sums, plan, parts)
        return (*(grad if wanted else None for grad, wanted in zip(found, ctx.needs_input_grad, strict=False)), None)


def forward(
    qkv: Tensors, plan: Plan, keep: bool = False, parts: list[Attended] | None = None
) -> tuple[torch.Tensor, torch.Tensor, list[Attended] | None]:
    """Output, log-sum-exps and parts.

    Args:
        qkv: `ready` tensors.
        plan: what to do.
        keep: fill in the log-sum-exps of all rows, (b, n, H), which rows in several calls need in the backward pass.
        parts: takes the results of calls that nothing is merged with, to spare the backward pass recovering them.
    """
    q, k, v = qkv
    out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    shape = q.shape[:3] if keep or plan.merges else (0,)
    sums = torch.full(shape, -torch.inf, dtype=torch.float32, device=q.device)
    with plan.precision(q), lanes(q.device, plan.side_by_side(qkv)) as side:
        for window, calls in plan.calls(qkv):
            acc, local = out, window.merged and q.dtype != torch.float32
            if local:
                acc = torch.zeros(window.of(out).shape, dtype=torch.float32, device=q.device)
            elif not window.filled and not (window.whole and fills(calls[0], out)):
                window.of(out).zero_()
            for call in calls:
                near = (call.q.of(q), call.k.of(k), call.v.of(v))
                with side.lane():
                    done = kernel_for(near[0], near[1]).forward(near, call.causal, plan.scores)
                    if window.merged:
                        merge((call.local if local else call.rows).of(acc), call.sums.of(sums), done)
                        continue
                    place((done.out,), (out,), call, plan.mixture)
                if parts is not None:
                    parts.append(done)
                elif keep:
                    call.sums.of(sums).copy_(done.lse)
            if local or (window.merged and plan.mixture != 1):
                torch.mul(acc if local else window.of(out), plan.mixture, out=window.of(out))
    return out, sums, parts


def backward(
    grad: torch.Tensor,
    qkv: Tensors,
    out: torch.Tensor | None,
    sums: torch.Tensor | None,
    plan: Plan,
    parts: list[Attended] | None = None,
) -> Tensors:
    """Gradients of q, k and v; in float32 until all calls have added to them, where several do.

    Args:
        grad: of the output, contiguous.
        qkv: as the forward pass had them.
        out: the merged result; not needed if nothing was merged and the parts are here.
        sums: its log-sum-exps; likewise.
        plan: what was done.
        parts: the results of calls that nothing was merged with, in order; None: recovered from out and sums.
    """
    q, k, v = qkv
    held, placed = (torch.float32 if plan.merges else q.dtype), plan.places(qkv)
    new = torch.empty if placed else torch.zeros
    dq, dk, dv = (new(q.shape, dtype=held, device=q.device) for _ in range(3))
    rest: Iterator[Attended] | None = None if parts is None else iter(parts)
    with plan.precision(q), lanes(q.device, plan.side_by_side(qkv)) as side:
        for window, calls in plan.calls(qkv):
            for call in calls:
                with side.lane():
                    known = rest is not None and not window.merged
                    done = next(rest) if rest and known else _recovered(call, out, sums, plan.mixture)
                    near = (call.q.of(q), call.k.of(k), call.v.of(v))
                    kernel = kernel_for(near[0], near[1])
                    wanted = kernel.upstream(call.rows.of(grad), near[0], plan.mixture)
                    found = kernel.backward(wanted, near, done, call.causal, plan.scores)
                    _give(found, (dq, dk, dv), call, plan.merges, placed)
    return dq.to(q.dtype), dk.to(q.dtype), dv.to(q.dtype)


def _give(found: Tensors, into: Tensors, call: Call, add: bool, placed: bool) -> None:
    """One call's dq, dk and dv into the whole ones."""
    if placed:
        place(found, into, call, 1.0)
        return
    for at, target, gradient in zip((call.rows, call.keys, call.keys), into, found, strict=True):
        at.of(target).add_(gradient) if add else at.of(target).copy_(gradient)


def _recovered(call: Call, out: torch.Tensor | None, sums: torch.Tensor | None, mixture: float) -> Attended:
    """The call's share of the merged result, as if one softmax had given it."""
    assert out is not None
    assert sums is not None
    result = call.rows.of(out)
    return Attended(result if mixture == 1 else result / mixture, call.sums.of(sums))


def ready(t: torch.Tensor) -> torch.Tensor:
    """The tensor as the kernels take it: rows contiguous; on CUDA padded and aligned. Nothing is copied if it is so."""
    if t.device.type == "cuda":
        if t.shape[-1] % CUDA_ALIGNMENT:
            t = pad(t, (0, -t.shape[-1] % CUDA_ALIGNMENT))
        if t.data_ptr() % 16 or any(stride % CUDA_ALIGNMENT for stride in t.stride()[:-1]):
            return t.clone(memory_format=torch.contiguous_format)
    return t if t.stride(-1) == 1 else t.contiguous()
