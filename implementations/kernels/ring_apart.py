"""Ranks whose heads take one piece each: every result is final and goes to its place at once.

Results of local pieces are written scaled, with zeros between their rows, in one pass
(`place.place_whole`). The backward pass has each result and its log-sum-exp from the forward pass
of the rank that computed it, so that only gradients travel.
"""

from __future__ import annotations

import torch

from ..dilated_attention.pattern import Piece
from .calls import Strided
from .online import takes_triton
from .place import place_whole
from .ring_calls import (
    attend_locally,
    attend_shared,
    gathered,
    local_gradients,
    segments,
    shared_gradients,
)
from .ring_exchange import Arrived, Pending, Shared
from .ring_plan import RanksPlan
from .sdpa import Attended, Tensors

LOCAL, SHARED = 2, 5  # tensors that are kept of a piece


def forward(qkv: Tensors, plan: RanksPlan) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """This rank's rows (b, n / w, H, d), and what `backward` needs of it: result and log-sum-exp of
    each local piece; Q, K, V, result and log-sum-exp of each shared one.
    """
    started = gathered(qkv, plan)

    out = _blank(qkv[0], plan)
    kept: list[torch.Tensor] = []
    for piece in plan.local:
        done = attend_locally(qkv, piece, plan)
        _place((done.out,), (out,), piece, plan.pattern.scale)
        kept += (done.out, done.lse)

    returning: list[tuple[Shared, Pending | Arrived]] = []
    for part, asked, keys, values in started:
        near = (asked.wait(), keys.wait(), values.wait())
        found, sums = attend_shared(part, near, plan)
        returning.append((part, part.hand_back(found) if plan.causal else Arrived(found)))
        kept += (*near, found, sums)
    for part, back in returning:
        part.put(out, back.wait() * plan.pattern.scale, add=False)
    return out, kept


def backward(
    grad: torch.Tensor, qkv: Tensors, kept: list[torch.Tensor], plan: RanksPlan
) -> Tensors:
    """dq, dk, dv, laid out as q, k, v are."""
    asked: list[Pending | Arrived] = []
    for part in plan.shared:
        rows = part.take(grad)
        asked.append(part.hand_out(rows) if plan.causal else Arrived(rows))

    factor = plan.pattern.scale
    returning = []
    first = LOCAL * len(plan.local)
    for part, given in zip(plan.shared, asked, strict=True):
        q, k, v, out, lse = kept[first : first + SHARED]
        first += SHARED
        own, keys, values = shared_gradients(
            part, (q, k, v), given.wait(), (out, lse), plan, factor
        )
        back = part.hand_back(own) if plan.causal else Arrived(own)
        returning.append((part, back, part.reduce(keys), part.reduce(values)))

    dq, dk, dv = (_blank(t, plan) for t in qkv)
    for number, piece in enumerate(plan.local):
        done = Attended(*kept[LOCAL * number : LOCAL * (number + 1)])
        found = local_gradients(grad, qkv, piece, done, plan, factor)
        _place(found, (dq, dk, dv), piece, 1.0)

    for part, back, keys_back, values_back in returning:
        part.put(dq, back.wait(), add=False)
        part.put(dk, keys_back.wait(), add=False)
        part.put(dv, values_back.wait(), add=False)
    return dq, dk, dv


def _blank(like: torch.Tensor, plan: RanksPlan) -> torch.Tensor:
    """A tensor that is 0 wherever nothing is going to be written."""
    if not takes_triton(like):
        return torch.zeros_like(like)
    blank = torch.empty_like(like)
    for part in plan.shared:
        blank[:, :, part.heads] = 0
    return blank


def _place(
    found: tuple[torch.Tensor, ...], into: tuple[torch.Tensor, ...], piece: Piece, factor: float
) -> None:
    """Factor * found (B, g, m, d) of a local piece to its place in one or three tensors."""
    view = segments(into[0], piece)
    if takes_triton(into[0]):
        rows = Strided(tuple(view.shape), view.stride(), int(view.storage_offset()))
        place_whole(found, into, rows, piece, factor)
        return
    for source, target in zip(found, into, strict=True):
        torch.mul(source, factor, out=segments(target, piece))
