"""Dilated attention of x through its projections, projecting only the rows that a branch reads.

Under head_groups the heads of a branch at rate r need q, k and v at every r-th position only, and
no other branch needs these heads: for rates 1, 2, 4 that is 58 % of the work of projecting
everywhere. Where the rate divides the segment length the rows are a strided operand of the product;
else they are gathered. The three projections of a branch are one product, and its result goes to
the attention kernel as views.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from ..dilated_attention.pattern import Pattern, Piece
from .dense import dense_kernel
from .lanes import lanes
from .precision import at_autocast
from .sdpa import Attended, Kernel, Tensors


@dataclass(frozen=True)
class ProjectedPlan:
    """What is the same in every call: pattern (head_groups), head size, causality, precision."""

    pattern: Pattern
    head_dim: int
    causal: bool
    tf32: bool

    def kernel(self, near: Tensors, backward: bool = False) -> Kernel:
        """The kernel for one branch's q, k and v, forward or backward."""
        return dense_kernel(near[0], near[1], self.head_dim, self.tf32, backward)

    def features(self, piece: Piece) -> slice:
        """The piece's share of the embedding."""
        return slice(piece.first_head * self.head_dim, piece.last_head * self.head_dim)

    def split(self, qkv: torch.Tensor, piece: Piece) -> Tensors:
        """(N, 3 g d) -> q, k, v, (B, g, m, d) views each."""
        q, k, v = (
            qkv.view(-1, piece.selected, 3, piece.heads, self.head_dim)
            .permute(2, 0, 3, 1, 4)
            .unbind()
        )
        return q, k, v


def projected_attention(
    x: torch.Tensor, projections: tuple[torch.Tensor, ...], plan: ProjectedPlan
) -> torch.Tensor:
    """The mixture of branches before the norm, (b, n, E); differentiable.

    Args:
        x: (b, n, E).
        projections: weight (E, E) and bias (E,) of q, k and v, in this order.
        plan: the pattern.
    """
    x, *cast = at_autocast(x, *projections)
    out: torch.Tensor = _Projected.apply(x, plan, *cast)  # type: ignore[no-untyped-call]  # torch leaves it so
    return out


class _Projected(torch.autograd.Function):
    """One product and one attention call per branch; backward likewise."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, plan: ProjectedPlan, *projections: torch.Tensor
    ) -> torch.Tensor:
        x, held = x.contiguous(), []
        out = torch.zeros_like(x)
        with lanes(x.device, x.is_cuda) as side:
            for piece in plan.pattern.pieces:
                with side.lane():
                    weight = _stacked(projections[0::2], plan.features(piece))
                    bias = _stacked(projections[1::2], plan.features(piece))
                    qkv = torch.addmm(bias, _rows(x, piece), weight.t())
                    near = plan.split(qkv, piece)
                    done = plan.kernel(near).forward(near, plan.causal, plan.head_dim**-0.5)
                    into = _places(out, piece, plan)
                    torch.mul(done.out.transpose(1, 2), plan.pattern.scale, out=into)
                held += [qkv, done.out, done.lse]
        ctx.save_for_backward(x, *projections, *held)
        ctx.plan = plan
        return out

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, *saved = ctx.saved_tensors
        projections, held, plan = saved[:6], saved[6:], ctx.plan
        grad, dx = grads[0].contiguous(), torch.zeros_like(x)
        found = [torch.empty_like(projection) for projection in projections]
        for number, piece in enumerate(plan.pattern.pieces):
            qkv, out, lse = held[3 * number : 3 * number + 3]
            near, done = plan.split(qkv, piece), Attended(out, lse)
            kernel = plan.kernel(near, backward=True)
            upstream = kernel.upstream(
                _places(grad, piece, plan).transpose(1, 2), near[0], plan.pattern.scale
            )
            parts = kernel.backward(upstream, near, done, plan.causal, plan.head_dim**-0.5)
            slope = torch.stack([part.transpose(1, 2) for part in parts], dim=2).view(qkv.shape)
            features = plan.features(piece)
            _add_rows(dx, piece, slope, _stacked(projections[::2], features))
            weights = (slope.t() @ _rows(x, piece)).chunk(3)
            for target, share in zip(found[::2], weights, strict=True):
                target[features] = share
            biases = slope.sum(0).chunk(3)
            for target, share in zip(found[1::2], biases, strict=True):
                target[features] = share
        everything = (dx, None, *found)
        asked = []
        for gradient, wanted in zip(everything, ctx.needs_input_grad, strict=True):
            asked.append(gradient if wanted else None)
        return tuple(asked)


def _stacked(projections: tuple[torch.Tensor, ...], features: slice) -> torch.Tensor:
    """Rows of the weights (or biases) of q, k and v for these features, one below the other."""
    return torch.cat([projection[features] for projection in projections])


def _segments(t: torch.Tensor, piece: Piece) -> torch.Tensor:
    """(b, n, E) -> (B, m, E): a view of the selected positions."""
    return t.view(-1, piece.segment_length, t.shape[-1])[:, piece.offset :: piece.rate]


def _places(t: torch.Tensor, piece: Piece, plan: ProjectedPlan) -> torch.Tensor:
    """(b, n, E) -> (B, m, g, d): a view of the selected positions of the piece's heads."""
    selected = _segments(t, piece)[..., plan.features(piece)]
    return selected.view(*selected.shape[:2], piece.heads, plan.head_dim)


def _rows(x: torch.Tensor, piece: Piece) -> torch.Tensor:
    """(N, E) selected rows of contiguous x: a view if the rate divides the segment length."""
    if piece.segment_length % piece.rate:
        return _segments(x, piece).flatten(0, 1)
    return x.view(-1, x.shape[-1])[piece.offset :: piece.rate]


def _add_rows(dx: torch.Tensor, piece: Piece, slope: torch.Tensor, weight: torch.Tensor) -> None:
    """Add slope @ weight to the selected rows."""
    if piece.segment_length % piece.rate:
        rows = _segments(dx, piece)
        rows.add_((slope @ weight).view(rows.shape))
    else:
        dx.view(-1, dx.shape[-1])[piece.offset :: piece.rate].addmm_(slope, weight)
