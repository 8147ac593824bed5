"""The attention calls of one rank: on a local piece's rows, and on its share of a shared piece."""

from __future__ import annotations

import torch

from ..dilated_attention.pattern import Piece
from .online import merge
from .ring_exchange import Arrived, Pending, Shared
from .ring_plan import RanksPlan
from .ring_shares import Shares, Span
from .sdpa import Attended, Tensors

Started = tuple[Shared, Pending | Arrived, Pending, Pending]  # a piece, and its Q, K and V


def gathered(qkv: Tensors, plan: RanksPlan) -> list[Started]:
    """Start what each shared piece needs: the rows of Q that this rank computes, and the group's
    rows of K and V.
    """
    q, k, v = qkv
    started: list[Started] = []
    for part in plan.shared:
        rows = part.take(q)
        asked = part.hand_out(rows) if plan.causal else Arrived(rows)
        started.append((part, asked, part.gather(part.take(k)), part.gather(part.take(v))))
    return started


def attend_locally(qkv: Tensors, piece: Piece, plan: RanksPlan) -> Attended:
    """A local piece's result."""
    near = near_of(qkv, piece)
    return plan.kernel(near[0], near[1]).forward(near, plan.causal, plan.scores)


def local_gradients(
    grad: torch.Tensor,
    qkv: Tensors,
    piece: Piece,
    done: Attended,
    plan: RanksPlan,
    factor: float,
) -> Tensors:
    """dq, dk, dv of a local piece's rows, (B, g, m, d), where its result times factor went out."""
    near = near_of(qkv, piece)
    kernel = plan.kernel(near[0], near[1], backward=True)
    upstream = kernel.upstream(segments(grad, piece), near[0], factor)
    return kernel.backward(upstream, near, done, plan.causal, plan.scores)


def attend_shared(
    part: Shared, near: Tensors, plan: RanksPlan
) -> tuple[torch.Tensor, torch.Tensor]:
    """The rows of a shared piece that this rank computes, (rows, b, g, d), and log-sum-exps."""
    q, k, v = near
    out = torch.empty_like(q)
    lse = torch.empty(q.shape[:3], dtype=torch.float32, device=q.device)
    for rows, span in _numbered(part.shares.computed(part.member)):
        found: Attended | None = None
        for keys, causal in _keys(part.shares, span):
            views = (heads_first(q[rows]), heads_first(k[keys]), heads_first(v[keys]))
            done = plan.kernel(views[0], views[1]).forward(views, causal, plan.scores)
            if found is None:
                found = done
                continue
            into, total = found.out.float(), found.lse.clone()
            merge(into, total, done)
            found = Attended(into, total)
        assert found is not None
        out[rows] = found.out.permute(2, 0, 1, 3).to(out.dtype)
        lse[rows] = found.lse.permute(2, 0, 1)
    return out, lse


def shared_gradients(
    part: Shared,
    near: Tensors,
    grad: torch.Tensor,
    done: tuple[torch.Tensor, torch.Tensor],
    plan: RanksPlan,
    factor: float,
) -> Tensors:
    """This rank's dq, and its share of the whole group's dk and dv in float32.

    Args:
        part: the shared piece.
        near: the rows of Q that this rank computes, and the group's K and V.
        grad: of what went out of these rows, which is their result times factor.
        done: the result and log-sum-exps.
        plan: of this rank.
        factor: see grad.
    """
    q, k, v = near
    out, lse = done
    dq = torch.empty(q.shape, dtype=torch.float32, device=q.device)
    dk, dv = (torch.zeros(k.shape, dtype=torch.float32, device=q.device) for _ in range(2))
    for rows, span in _numbered(part.shares.computed(part.member)):
        known = Attended(heads_first(out[rows]), lse[rows].permute(1, 2, 0).contiguous())
        own = heads_first(dq[rows]).zero_()
        for keys, causal in _keys(part.shares, span):
            views = (heads_first(q[rows]), heads_first(k[keys]), heads_first(v[keys]))
            kernel = plan.kernel(views[0], views[1], backward=True)
            upstream = kernel.upstream(heads_first(grad[rows]), views[0], factor)
            found = kernel.backward(upstream, views, known, causal, plan.scores)
            own.add_(found[0])
            heads_first(dk[keys]).add_(found[1])
            heads_first(dv[keys]).add_(found[2])
    return dq.to(q.dtype), dk, dv


def near_of(qkv: Tensors, piece: Piece) -> Tensors:
    """Views of what a local piece's rows are made from."""
    q, k, v = qkv
    return segments(q, piece), segments(k, piece), segments(v, piece)


def segments(t: torch.Tensor, piece: Piece) -> torch.Tensor:
    """(b, n, H, ...) contiguous -> (b n / s, g, m, ...): a view of a local piece's rows."""
    length, heads = piece.segment_length, slice(piece.first_head, piece.last_head)
    cut = t.view(t.shape[0] * t.shape[1] // length, length, *t.shape[2:])
    return cut[:, piece.offset :: piece.rate, heads].transpose(1, 2)


def heads_first(t: torch.Tensor) -> torch.Tensor:
    """(rows, b, g, d) -> (b, g, rows, d): a view."""
    return t.permute(1, 2, 0, 3)


def _numbered(spans: list[Span]) -> list[tuple[slice, Span]]:
    """Each span with the place of its rows among all that the rank computes, in sequence order."""
    found, start = [], 0
    for span in spans:
        found.append((slice(start, start + span.last - span.first), span))
        start += span.last - span.first
    return found


def _keys(shares: Shares, span: Span) -> list[tuple[slice, bool]]:
    """The sets of the group's keys that a span of rows attends to, and whether causally."""
    start, m = span.segment * shares.piece.selected, shares.piece.selected
    if not shares.causal:
        return [(slice(start, start + m), False)]
    before = [(slice(start, start + span.first), False)] if span.first else []
    return [*before, (slice(start + span.first, start + span.last), True)]
