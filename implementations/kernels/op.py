"""A plan as a function of q, k, v: called directly in eager mode, a torch operator in graphs.

The operators `dilated_attention::forward` and `::backward` have a fake kernel and a gradient
registered, so that torch.compile(fullgraph=True) and torch.export see one node each. Eager calls go
around them: their dispatch would cost a small call more time than its attention takes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch.nn.functional import pad

from ..kernels import fused, merge
from .fused_lse import LsePlan
from .precision import at_autocast
from .ringed import RingPlan
from .spec import Spec

Tensors = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
Attention = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def attention_of(spec: Spec) -> Attention:
    """Attention of q, k, v, each (b, n, H, d); differentiable; under autocast in its dtype."""
    text = spec.text()
    plan = _plan(text)
    run: Callable[..., torch.Tensor] = (
        fused.attention if isinstance(plan, fused.FusedPlan) else merge.attention
    )

    def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        q, k, v = at_autocast(q, k, v)
        if torch.compiler.is_compiling():
            out: torch.Tensor = _forward_op(q, k, v, text)[0]
            return out
        return run(q, k, v, plan)

    return attention


@lru_cache(maxsize=256)
def _plan(text: str) -> fused.FusedPlan | merge.Plan:
    spec = Spec.parse(text)
    if spec.plan == "views":
        return merge.Plan(
            spec.pattern, spec.head_dim, spec.causal, spec.block, tf32=spec.precision == "tf32"
        )
    assert spec.forward is not None
    assert spec.backward is not None
    fields = (
        spec.pattern,
        spec.head_dim,
        spec.causal,
        fused.products(spec.precision),
        spec.forward,
        spec.backward,
    )
    if spec.pattern.shares_heads:
        return LsePlan(*fields)
    if spec.block is None or spec.block >= spec.pattern.seq_len:
        return fused.FusedPlan(*fields)
    return RingPlan(*fields, spec.block)


@torch.library.custom_op("dilated_attention::forward", mutates_args=())
def _forward_op(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, spec: str
) -> tuple[torch.Tensor, torch.Tensor]:
    plan = _plan(spec)
    if isinstance(plan, fused.FusedPlan):
        return fused.forward(q, k, v, plan, keep=True)
    out, sums, _ = merge.forward(_ready(q, k, v), plan, keep=True)
    return out[..., : q.shape[-1]].contiguous(), sums


@_forward_op.register_fake
def _(
    q: torch.Tensor, _k: torch.Tensor, _v: torch.Tensor, spec: str
) -> tuple[torch.Tensor, torch.Tensor]:
    plan = _plan(spec)
    sums = (q.shape[0] * plan.rows,) if isinstance(plan, fused.FusedPlan) else q.shape[:3]
    return q.new_empty(q.shape), q.new_empty(sums, dtype=torch.float32)


@torch.library.custom_op("dilated_attention::backward", mutates_args=())
def _backward_op(
    grad: torch.Tensor,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    out: torch.Tensor,
    sums: torch.Tensor,
    spec: str,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    plan = _plan(spec)
    if isinstance(plan, fused.FusedPlan):
        return fused.backward(grad, (q, k, v), out, sums, plan)
    near = _ready(q, k, v)
    width, head_dim = near[0].shape[-1], q.shape[-1]
    if width > head_dim:
        # the inputs were padded for the calls; what is handed to the backward pass was cut back
        grad, out = pad(grad, (0, width - head_dim)), pad(out, (0, width - head_dim))
    dq, dk, dv = merge.backward(grad.contiguous(), near, out, sums, plan)
    if width == head_dim:
        return dq, dk, dv
    return (
        dq[..., :head_dim].contiguous(),
        dk[..., :head_dim].contiguous(),
        dv[..., :head_dim].contiguous(),
    )


@_backward_op.register_fake
def _(
    _grad: torch.Tensor, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *_: Any
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, torch.Tensor]) -> None:
    ctx.save_for_backward(*inputs[:3], *output)
    ctx.spec = inputs[3]


def _gradients(ctx: Any, grad: torch.Tensor, _: Any) -> tuple[torch.Tensor | None, ...]:
    found = _backward_op(grad, *ctx.saved_tensors, ctx.spec)
    return (*merge.wanted_only(found, ctx.needs_input_grad), None)


_forward_op.register_autograd(_gradients, setup_context=_keep)


def _ready(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> Tensors:
    return merge.ready(q), merge.ready(k), merge.ready(v)
