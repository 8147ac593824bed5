"""A schedule carried out: attention calls on views, merged by log-sum-exps; forward and backward.

No scores are ever held. Beyond inputs and output the forward needs the result of one call, one window in float32 where
rows are merged, and the log-sum-exps. The backward pass hands each call the merged result, so that the gradient is that
of the one softmax which the merged result is; autograd never sees a slice.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import pad

from implementations.dilated_attention.pattern import Pattern
from implementations.kernels.calls import Call, calls_of
from implementations.kernels.schedule import Window, windows
from implementations.kernels.sdpa import Attended, Tensors, kernel_for

CUDA_ALIGNMENT = 8  # elements: what the kernels on CUDA want head_dim and strides to be multiples of

Scheduled = tuple[tuple[Window, tuple[Call, ...]], ...]
Rest = tuple[Any, ...]


class Plan:
    """What to do for one pattern, in blocks of so many positions (None: one block).

    Attributes:
        windows: the schedule.
        merges: whether any row takes several calls.
        mixture: what the mixture of branches is multiplied by.
        scores: what the scores are multiplied by.
    """

    def __init__(self, pattern: Pattern, head_dim: int, causal: bool, block: int | None = None) -> None:
        self.windows = windows(pattern, block or pattern.seq_len, causal)
        self.merges = any(window.merged for window in self.windows)
        self.mixture = pattern.scale
        self.scores = head_dim**-0.5
        self._calls: dict[Any, Scheduled] = {}

    def calls(self, qkv: Tensors) -> Scheduled:
        """The windows and their calls for inputs laid out like these; worked out once per layout."""
        shape, strides = tuple(qkv[0].shape), (qkv[0].stride(), qkv[1].stride(), qkv[2].stride())
        key = (shape, strides, qkv[0].element_size())
        if key not in self._calls:
            self._calls[key] = tuple((window, calls_of(window, *key)) for window in self.windows)
        return self._calls[key]


def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, plan: Plan) -> torch.Tensor:
    """Dilated attention of q, k, v, (b, n, H, d) each with any strides; differentiable; returns (b, n, H, d)."""
    head_dim = q.shape[-1]
    q, k, v = _ready(q), _ready(k), _ready(v)
    if torch.is_grad_enabled() and (q.requires_grad or k.requires_grad or v.requires_grad):
        out: torch.Tensor = _Merged.apply(q, k, v, plan)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    else:
        out, _, _ = _forward((q, k, v), plan, keep=False)
    return out if out.shape[-1] == head_dim else out[..., :head_dim]


class _Merged(torch.autograd.Function):
    """The plan, with a gradient of its own."""

    @staticmethod
    def forward(ctx: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, plan: Plan) -> torch.Tensor:
        out, sums, rests = _forward((q, k, v), plan, keep=True)
        ctx.save_for_backward(q, k, v, out, sums)
        ctx.plan, ctx.rests = plan, rests
        return out

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        q, k, v, out, sums = ctx.saved_tensors
        found = _backward(grads[0].contiguous(), (q, k, v), out, sums, ctx.plan, ctx.rests)
        return (*(grad if wanted else None for grad, wanted in zip(found, ctx.needs_input_grad, strict=False)), None)


def _forward(qkv: Tensors, plan: Plan, keep: bool) -> tuple[torch.Tensor, torch.Tensor, list[Rest]]:
    """Output, log-sum-exps (b, n, H) and, to keep for the backward pass, the rest of each call."""
    q, k, v = qkv
    kernel, rests = kernel_for(q.device, q.dtype), []
    out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    shape = q.shape[:3] if keep or plan.merges else (0,)
    sums = torch.full(shape, -torch.inf, dtype=torch.float32, device=q.device)
    for window, calls in plan.calls(qkv):
        acc, local = out, window.merged and q.dtype != torch.float32
        if local:
            acc = torch.zeros(window.of(out).shape, dtype=torch.float32, device=q.device)
        elif not window.filled:
            window.of(out).zero_()
        for call in calls:
            done = kernel.forward((call.q.of(q), call.k.of(k), call.v.of(v)), call.causal, plan.scores)
            if window.merged:
                _merge((call.local if local else call.rows).of(acc), call.sums.of(sums), done)
            else:
                torch.mul(done.out, plan.mixture, out=call.rows.of(out))
            if keep:
                rests.append(done.rest)
                if not window.merged:
                    call.sums.of(sums).copy_(done.lse)
        if local or (window.merged and plan.mixture != 1):
            torch.mul(acc if local else window.of(out), plan.mixture, out=window.of(out))
    return out, sums, rests


def _merge(into: torch.Tensor, total: torch.Tensor, done: Attended) -> None:
    """Add one call's result to the running one, in float32."""
    merged = torch.logaddexp(total, done.lse)
    into.mul_((total - merged).exp_()[..., None])
    into.add_(done.out * (done.lse - merged).exp_()[..., None])
    total.copy_(merged)


def _backward(
    grad: torch.Tensor, qkv: Tensors, out: torch.Tensor, sums: torch.Tensor, plan: Plan, rests: list[Rest]
) -> Tensors:
    """Gradients of q, k and v; in float32 until all calls have added to them, where several do."""
    q, k, v = qkv
    kernel, rest = kernel_for(q.device, q.dtype), iter(rests)
    held = torch.float32 if plan.merges else q.dtype
    dq, dk, dv = (torch.zeros(q.shape, dtype=held, device=q.device) for _ in range(3))
    for _, calls in plan.calls(qkv):
        for call in calls:
            result, wanted = call.rows.of(out), call.rows.of(grad)
            if plan.mixture != 1:
                result, wanted = result / plan.mixture, wanted * plan.mixture
            done = Attended(result, call.sums.of(sums), next(rest))
            near = (call.q.of(q), call.k.of(k), call.v.of(v))
            found = kernel.backward(wanted, near, done, call.causal, plan.scores)
            for place, into, gradient in zip((call.rows, call.keys, call.keys), (dq, dk, dv), found, strict=True):
                place.of(into).add_(gradient) if plan.merges else place.of(into).copy_(gradient)
    return dq.to(q.dtype), dk.to(q.dtype), dv.to(q.dtype)


def _ready(t: torch.Tensor) -> torch.Tensor:
    """The tensor as the kernels take it: rows contiguous; on CUDA padded and aligned. Nothing is copied if it is so."""
    if t.device.type == "cuda":
        if t.shape[-1] % CUDA_ALIGNMENT:
            t = pad(t, (0, -t.shape[-1] % CUDA_ALIGNMENT))
        if t.data_ptr() % 16 or any(stride % CUDA_ALIGNMENT for stride in t.stride()[:-1]):
            return t.clone(memory_format=torch.contiguous_format)
    return t if t.stride(-1) == 1 else t.contiguous()
