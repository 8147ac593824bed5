"""Dilated attention of a sequence sharded over ranks: forward and backward, any pattern.

Pieces whose segments lie within a rank need no communication. Of every other piece the ranks of a
segment gather the rows of K and V that take part, and nothing else. The gathers start first and run
on the process group's own stream, behind the local work. What becomes of the results depends on
whether heads take one piece each (`ring_apart`) or several (`ring_mixed`).

With `causal` the rows of a shared segment are computed in zigzag (`ring_shares`): a rank sends the
rows of Q that another computes, and has their results back. Communication of a piece with M
selected rows in its group: K and V once (all-gather), their gradients once in float32
(reduce-scatter), and, if causal, Q, the result, the gradients of both and, where heads take several
pieces, the result once more and its log-sum-exp.
"""

from __future__ import annotations

from typing import Any

import torch

from . import ring_apart, ring_mixed
from .merge import ready, wanted_only
from .ring_plan import RanksPlan


def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, plan: RanksPlan) -> torch.Tensor:
    """This rank's rows: q, k, v (b, n / w, H, d) -> (b, n / w, H, d), differentiable.

    Every rank of the group calls it at the same time.
    """
    head_dim = q.shape[-1]
    q, k, v = (ready(t).contiguous() for t in (q, k, v))
    out: torch.Tensor = _Sharded.apply(q, k, v, plan)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return out if out.shape[-1] == head_dim else out[..., :head_dim]


class _Sharded(torch.autograd.Function):
    """The plan, with a gradient of its own."""

    @staticmethod
    def forward(
        ctx: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, plan: RanksPlan
    ) -> torch.Tensor:
        way = ring_mixed if plan.mixes else ring_apart
        out: torch.Tensor
        out, kept = way.forward((q, k, v), plan)
        if any(ctx.needs_input_grad):
            ctx.save_for_backward(q, k, v, *kept)
            ctx.plan = plan
        return out

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        q, k, v, *kept = ctx.saved_tensors
        way = ring_mixed if ctx.plan.mixes else ring_apart
        found = way.backward(grads[0].contiguous(), (q, k, v), kept, ctx.plan)
        return (*wanted_only(found, ctx.needs_input_grad), None)
