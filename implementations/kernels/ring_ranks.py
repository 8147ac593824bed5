"""Dilated attention of a sequence sharded over ranks: forward and backward, any pattern.

Pieces whose segments lie within a rank need no communication. Of every other piece the ranks of a
segment gather the rows of K and V that take part, and nothing else. The gathers start first and run
on the process group's own stream, behind the local work. Rows that meet several sets of keys are
merged by their log-sum-exps in float32, and the backward pass hands each call the merged result, so
that its gradients are shares of that one softmax's.

With `causal` the rows of a shared segment are computed in zigzag (`ring_shares`): a rank sends the
rows of Q that another computes, and has their results back. Communication of a piece with M
selected rows in its group: K and V once (all-gather), their gradients once in float32
(reduce-scatter), and, if causal, Q, the result and its log-sum-exp.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
import torch.distributed as dist

from ..dilated_attention.pattern import Pattern, Piece
from .dense import dense_kernel
from .merge import ready, wanted_only
from .online import merge
from .ring_exchange import Arrived, Pending, Shared
from .ring_shares import Shares, Span, groups_of, is_local
from .sdpa import Attended, Kernel

Tensors = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class RanksPlan:
    """What to do on this rank for one pattern.

    Attributes:
        pattern: of the whole sequence.
        head_dim: features of a head, without padding.
        causal: rows attend only to what is not after them.
        tf32: products of float32 may be in tf32 on CUDA.
        local: pieces whose segments lie within a rank.
        shared: pieces that ranks share.
    """

    pattern: Pattern
    head_dim: int
    causal: bool
    tf32: bool
    local: tuple[Piece, ...]
    shared: tuple[Shared, ...]

    @classmethod
    def of(
        cls,
        pattern: Pattern,
        head_dim: int,
        causal: bool,
        tf32: bool,
        rank: int,
        world_size: int,
        device: torch.device,
    ) -> RanksPlan:
        """Made by every rank at the same time: it makes process groups."""
        held = pattern.seq_len // world_size
        groups: dict[range, Any] = {range(world_size): None}
        shared = []
        for piece in pattern.pieces:
            if is_local(piece, held):
                continue
            for ranks in groups_of(piece, held, world_size):
                if ranks not in groups:  # every rank makes every group, its own or not
                    groups[ranks] = dist.new_group(list(ranks))
                if rank in ranks:
                    shared.append(
                        Shared(
                            Shares(piece, held, ranks, causal),
                            rank - ranks[0],
                            groups[ranks],
                            device,
                        )
                    )
        local = tuple(piece for piece in pattern.pieces if is_local(piece, held))
        return cls(pattern, head_dim, causal, tf32, local, tuple(shared))

    @property
    def mixes(self) -> bool:
        """Whether heads take several pieces."""
        return self.pattern.mixing == "lse"

    def kernel(self, q: torch.Tensor, k: torch.Tensor, backward: bool = False) -> Kernel:
        """The kernel for q (B, g, m, d) and k (B, g, m', d), forward or backward."""
        return dense_kernel(q, k, self.head_dim, self.tf32, backward)

    @property
    def scores(self) -> float:
        """What scores are multiplied by."""
        return float(self.head_dim**-0.5)


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
        merged, sums, held = _forward((q, k, v), plan)
        if any(ctx.needs_input_grad):
            ctx.save_for_backward(q, k, v, merged, sums, *chain.from_iterable(held))
            ctx.plan = plan
        return merged if plan.pattern.scale == 1 else merged * plan.pattern.scale

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        q, k, v, merged, sums, *flat = ctx.saved_tensors
        held = [(flat[at], flat[at + 1], flat[at + 2]) for at in range(0, len(flat), 3)]
        wanted = grads[0].contiguous()
        if ctx.plan.pattern.scale != 1:
            wanted = wanted * ctx.plan.pattern.scale
        found = _backward(wanted, (q, k, v), merged, sums, held, ctx.plan)
        return (*wanted_only(found, ctx.needs_input_grad), None)


def _forward(qkv: Tensors, plan: RanksPlan) -> tuple[torch.Tensor, torch.Tensor, list[Tensors]]:
    """Merged, unscaled rows (b, n / w, H, d), log-sum-exps, and Q, K, V of each shared piece.

    Where heads take several pieces, rows are merged in float32.
    """
    q = qkv[0]
    dtype = torch.float32 if plan.mixes else q.dtype
    merged = torch.zeros(q.shape, dtype=dtype, device=q.device)
    sums = torch.full(q.shape[:3], -torch.inf, dtype=torch.float32, device=q.device)

    started = []
    for part in plan.shared:
        rows = [part.take(t) for t in qkv]
        asked = part.hand_out(rows[0]) if plan.causal else Arrived(rows[0])
        started.append((part, asked, part.gather(rows[1]), part.gather(rows[2])))

    for piece in plan.local:
        near = _near(qkv, piece)
        done = plan.kernel(near[0], near[1]).forward(near, plan.causal, plan.scores)
        _merge(_segments(merged, piece), _segments(sums, piece), done, plan.mixes)

    held: list[Tensors] = []
    returning: list[tuple[Shared, Pending | Arrived, Pending | Arrived]] = []
    for part, asked, keys, values in started:
        held.append((asked.wait(), keys.wait(), values.wait()))
        out, lse = _attend(part, held[-1], plan)
        if plan.causal:
            returning.append((part, part.hand_back(out), part.hand_back(lse)))
        else:
            returning.append((part, Arrived(out), Arrived(lse)))
    for part, out_back, lse_back in returning:
        _add(part, merged, sums, out_back.wait(), lse_back.wait(), plan.mixes)
    return merged.to(q.dtype), sums, held


def _attend(part: Shared, near: Tensors, plan: RanksPlan) -> tuple[torch.Tensor, torch.Tensor]:
    """The rows of a shared piece that this rank computes, (rows, b, g, d), and log-sum-exps."""
    q, k, v = near
    out = torch.empty_like(q)
    lse = torch.empty(q.shape[:3], dtype=torch.float32, device=q.device)
    for rows, span in _numbered(part.shares.computed(part.member)):
        found: Attended | None = None
        for keys, causal in _keys(part.shares, span):
            views = (_heads_first(q[rows]), _heads_first(k[keys]), _heads_first(v[keys]))
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


def _backward(
    wanted: torch.Tensor,
    qkv: Tensors,
    merged: torch.Tensor,
    sums: torch.Tensor,
    held: list[Tensors],
    plan: RanksPlan,
) -> Tensors:
    """Gradients of q, k and v; added up in float32 where heads take several pieces."""
    dtype = torch.float32 if plan.mixes else wanted.dtype
    dq, dk, dv = (torch.zeros(t.shape, dtype=dtype, device=t.device) for t in qkv)

    asked: list[list[Pending] | list[Arrived]] = []
    for part in plan.shared:
        rows = [part.take(t) for t in (wanted, merged, sums)]
        if plan.causal:
            asked.append([part.hand_out(t) for t in rows])
        else:
            asked.append([Arrived(t) for t in rows])

    returning = []
    for part, near, given in zip(plan.shared, held, asked, strict=True):
        grad, out, lse = (t.wait() for t in given)
        own, keys, values = _gradients(part, near, grad, out, lse, plan)
        back = part.hand_back(own) if plan.causal else Arrived(own)
        returning.append((part, back, part.reduce(keys), part.reduce(values)))

    for piece in plan.local:
        near = _near(qkv, piece)
        kernel = plan.kernel(near[0], near[1], backward=True)
        done = Attended(_segments(merged, piece), _segments(sums, piece).contiguous())
        upstream = kernel.upstream(_segments(wanted, piece), near[0], 1.0)
        found = kernel.backward(upstream, near, done, plan.causal, plan.scores)
        for whole, share in zip((dq, dk, dv), found, strict=True):
            _segments(whole, piece).add_(share)

    for part, back, keys_back, values_back in returning:
        part.put(dq, back.wait(), plan.mixes)
        part.put(dk, keys_back.wait(), plan.mixes)
        part.put(dv, values_back.wait(), plan.mixes)
    return dq.to(wanted.dtype), dk.to(wanted.dtype), dv.to(wanted.dtype)


def _gradients(
    part: Shared,
    near: Tensors,
    wanted: torch.Tensor,
    out: torch.Tensor,
    lse: torch.Tensor,
    plan: RanksPlan,
) -> Tensors:
    """This rank's dq, and its share of the whole group's dk and dv, in float32."""
    q, k, v = near
    dq = torch.empty(q.shape, dtype=torch.float32, device=q.device)
    dk, dv = (torch.zeros(k.shape, dtype=torch.float32, device=q.device) for _ in range(2))
    for rows, span in _numbered(part.shares.computed(part.member)):
        done = Attended(_heads_first(out[rows]), lse[rows].permute(1, 2, 0).contiguous())
        own = _heads_first(dq[rows]).zero_()
        for keys, causal in _keys(part.shares, span):
            views = (_heads_first(q[rows]), _heads_first(k[keys]), _heads_first(v[keys]))
            kernel = plan.kernel(views[0], views[1], backward=True)
            grad = kernel.upstream(_heads_first(wanted[rows]), views[0], 1.0)
            found = kernel.backward(grad, views, done, causal, plan.scores)
            own.add_(found[0])
            _heads_first(dk[keys]).add_(found[1])
            _heads_first(dv[keys]).add_(found[2])
    return dq.to(q.dtype), dk, dv


def _merge(into: torch.Tensor, total: torch.Tensor, done: Attended, mixes: bool) -> None:
    """One call's result into the rows that it is of, which are views."""
    if mixes:
        merge(into, total, done)
        return
    into.copy_(done.out)
    total.copy_(done.lse)


def _add(
    part: Shared,
    merged: torch.Tensor,
    sums: torch.Tensor,
    out: torch.Tensor,
    lse: torch.Tensor,
    mixes: bool,
) -> None:
    """Results (rows, b, g, ...) of the rows that this rank holds, into the whole."""
    if not len(part.positions):
        return
    if mixes:
        into, total = part.take(merged), part.take(sums)
        merge(
            _heads_first(into),
            total.permute(1, 2, 0),
            Attended(_heads_first(out), lse.permute(1, 2, 0)),
        )
        out, lse = into, total
    part.put(merged, out, add=False)
    part.put(sums, lse, add=False)


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


def _near(qkv: Tensors, piece: Piece) -> Tensors:
    """Views of what a local piece's rows are made from."""
    q, k, v = qkv
    return _segments(q, piece), _segments(k, piece), _segments(v, piece)


def _segments(t: torch.Tensor, piece: Piece) -> torch.Tensor:
    """(b, n, H, ...) contiguous -> (b n / s, g, m, ...): a view of a local piece's rows."""
    length, heads = piece.segment_length, slice(piece.first_head, piece.last_head)
    cut = t.view(t.shape[0] * t.shape[1] // length, length, *t.shape[2:])
    return cut[:, piece.offset :: piece.rate, heads].transpose(1, 2)


def _heads_first(t: torch.Tensor) -> torch.Tensor:
    """(rows, b, g, d) -> (b, g, rows, d): a view."""
    return t.permute(1, 2, 0, 3)
