"""Ranks whose heads take several pieces: results of the same rows are merged in float32.

The backward pass hands each call the merged result, so that its gradients are shares of that one
softmax's; where another rank computes a row, the merged result travels to it.
"""

from __future__ import annotations

import torch

from .online import merge
from .ring_calls import (
    attend_locally,
    attend_shared,
    gathered,
    heads_first,
    local_gradients,
    segments,
    shared_gradients,
)
from .ring_exchange import Arrived, Pending, Shared
from .ring_plan import RanksPlan
from .sdpa import Attended, Tensors

SHARED = 3  # tensors that are kept of a shared piece


def forward(qkv: Tensors, plan: RanksPlan) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """This rank's rows (b, n / w, H, d), and what `backward` needs of it: the merged result and its
    log-sum-exps, and Q, K, V of each shared piece.
    """
    q = qkv[0]
    merged = torch.zeros(q.shape, dtype=torch.float32, device=q.device)
    sums = torch.full(q.shape[:3], -torch.inf, dtype=torch.float32, device=q.device)

    started = gathered(qkv, plan)

    for piece in plan.local:
        done = attend_locally(qkv, piece, plan)
        merge(segments(merged, piece), segments(sums, piece), done)

    kept: list[torch.Tensor] = []
    returning: list[tuple[Shared, Pending | Arrived, Pending | Arrived]] = []
    for part, asked, keys, values in started:
        near = (asked.wait(), keys.wait(), values.wait())
        kept += near
        out, lse = attend_shared(part, near, plan)
        if plan.causal:
            returning.append((part, part.hand_back(out), part.hand_back(lse)))
        else:
            returning.append((part, Arrived(out), Arrived(lse)))
    for part, out_back, lse_back in returning:
        _add(part, merged, sums, out_back.wait(), lse_back.wait())
    found = merged.to(q.dtype)
    return found, [found, sums, *kept]


def backward(
    grad: torch.Tensor, qkv: Tensors, kept: list[torch.Tensor], plan: RanksPlan
) -> Tensors:
    """dq, dk, dv, laid out as q, k, v are; added up in float32."""
    merged, sums = kept[:2]
    asked: list[list[Pending] | list[Arrived]] = []
    for part in plan.shared:
        rows = [part.take(t) for t in (grad, merged, sums)]
        if plan.causal:
            asked.append([part.hand_out(t) for t in rows])
        else:
            asked.append([Arrived(t) for t in rows])

    returning = []
    first = 2
    for part, given in zip(plan.shared, asked, strict=True):
        q, k, v = kept[first : first + SHARED]
        first += SHARED
        wanted, out, lse = (one.wait() for one in given)
        own, keys, values = shared_gradients(part, (q, k, v), wanted, (out, lse), plan, 1.0)
        back = part.hand_back(own) if plan.causal else Arrived(own)
        returning.append((part, back, part.reduce(keys), part.reduce(values)))

    dq, dk, dv = (torch.zeros(t.shape, dtype=torch.float32, device=t.device) for t in qkv)
    for piece in plan.local:
        done = Attended(segments(merged, piece), segments(sums, piece).contiguous())
        found = local_gradients(grad, qkv, piece, done, plan, 1.0)
        for whole, share in zip((dq, dk, dv), found, strict=True):
            segments(whole, piece).add_(share)

    for part, back, keys_back, values_back in returning:
        part.put(dq, back.wait(), add=True)
        part.put(dk, keys_back.wait(), add=True)
        part.put(dv, values_back.wait(), add=True)
    return dq.to(grad.dtype), dk.to(grad.dtype), dv.to(grad.dtype)


def _add(
    part: Shared, merged: torch.Tensor, sums: torch.Tensor, out: torch.Tensor, lse: torch.Tensor
) -> None:
    """Results (rows, b, g, ...) of the rows that this rank holds, merged into the whole."""
    if not len(part.positions):
        return
    into, total = part.take(merged), part.take(sums)
    done = Attended(heads_first(out), lse.permute(1, 2, 0))
    merge(heads_first(into), total.permute(1, 2, 0), done)
    part.put(merged, into, add=False)
    part.put(sums, total, add=False)
