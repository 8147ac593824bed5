"""One softmax per row over the union of its keys, computed in tiles: the arithmetic of the
reference.

A row (position and head) attends to the multiset union of the keys that its pieces give it. Under
head_groups that is one piece; under lse it is one per branch, and the merge of branches by their
log-sum-exps is exactly this one softmax. Nothing here calls an attention kernel: products,
exponentials and sums only, with at most TILE scores at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from .pattern import HeadRun, Piece
from .rows import SegmentRows, key_positions, rows_of

TILE = 2**20  # scores at a time; the gradient holds about ten float64 tensors of this size: 80 MiB
KEYS = 2048  # keys at a time


@dataclass(frozen=True)
class Arithmetic:
    """How to compute: in float64 for the truth; as a straightforward implementation in `dtype` for
    the yardstick.

    The yardstick of a half-precision dtype multiplies in float32 and rounds each result, as the
    hardware does.
    """

    dtype: torch.dtype
    causal: bool

    @property
    def compute(self) -> torch.dtype:
        """The dtype of all intermediate tensors."""
        return torch.float64 if self.dtype == torch.float64 else torch.float32

    def rounded(self, x: torch.Tensor) -> torch.Tensor:
        """The values with the precision of a stored result; its gradient is rounded likewise."""
        return x if self.dtype == self.compute else x.to(self.dtype).to(self.compute)


@dataclass(frozen=True)
class _Tile:
    """Some rows of some segments: slots and relative (J, R), valid (J, R), segments (J,)."""

    piece: Piece
    rows: SegmentRows

    def key_chunks(self) -> Iterator[torch.Tensor]:
        """Numbers of the keys within a segment, KEYS at a time."""
        for first in range(0, self.piece.selected, KEYS):
            yield torch.arange(
                first, min(first + KEYS, self.piece.selected), device=self.rows.segments.device
            )

    def take(self, tensor: torch.Tensor) -> torch.Tensor:
        """(P, h, ...) -> (J, h, R, ...): the tile's rows."""
        return tensor[self.rows.slots].transpose(1, 2)

    def take_keys(self, tensor: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        """(n, h, d) -> (J, h, M, d): these keys of the tile's segments."""
        return tensor[key_positions(self.piece, self.rows.segments, keys)].transpose(1, 2)

    def give(self, tensor: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(J, h, R, ...) -> slots (N,) and their values (N, h, ...), without repeats."""
        return self.rows.slots[self.rows.valid], tensor.transpose(1, 2)[self.rows.valid]


@dataclass(frozen=True)
class Unit:
    """Some heads of one batch entry that share their pieces.

    Attributes:
        q: (P, h, d), the rows at `positions`.
        k: (n, h, d), all positions.
        v: (n, h, d).
        positions: (P,) sorted.
    """

    run: HeadRun
    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    positions: torch.Tensor
    how: Arithmetic

    def tiles(self) -> Iterator[_Tile]:
        """All rows, TILE scores at a time."""
        for piece in self.run.pieces:
            rows = rows_of(piece, self.positions)
            keys = min(piece.selected, KEYS) * self.q.shape[1]
            width = max(1, min(rows.slots.shape[1], TILE // keys))
            height = max(1, TILE // (keys * width))
            for j in range(0, len(rows.segments), height):
                for r in range(0, rows.slots.shape[1], width):
                    yield _Tile(piece, rows.part(slice(j, j + height), slice(r, r + width)))


def attend(unit: Unit) -> tuple[torch.Tensor, torch.Tensor]:
    """The softmax-weighted values of the unit's rows.

    Returns:
        out (P, h, d), 0 where a position is in no piece, and its log-sum-exp (P, h), -inf there.
    """
    out, lse = torch.zeros_like(unit.q), torch.full_like(unit.q[..., 0], -torch.inf)
    for tile in unit.tiles():
        slots, values = tile.give(torch.cat(_attend_tile(tile, unit), dim=-1))
        value, more = values[..., :-1], values[..., -1]
        merged = torch.logaddexp(lse[slots], more)
        kept, added = (lse[slots] - merged).exp(), (more - merged).exp()
        out[slots] = out[slots] * kept[..., None] + value * added[..., None]
        lse[slots] = merged
    return unit.how.rounded(out), lse


def gradients(
    unit: Unit, out: torch.Tensor, lse: torch.Tensor, upstream: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients of (out * upstream).sum() by autograd, tile by tile; out and lse as `attend`
    returned them.

    In each tile out is written as a function of the tile's own keys, everything else held constant
    at the values that
    `attend` found: the sum of these partial derivatives is the derivative.

    Returns:
        dq (P, h, d), dk (n, h, d), dv (n, h, d).
    """
    dq, dk, dv = torch.zeros_like(unit.q), torch.zeros_like(unit.k), torch.zeros_like(unit.v)
    for tile in unit.tiles():
        wanted = tile.take(upstream) * tile.rows.valid[:, None, :, None]
        for keys in tile.key_chunks():
            leaves = [tile.take(unit.q), tile.take_keys(unit.k, keys), tile.take_keys(unit.v, keys)]
            with torch.enable_grad():
                leaves = [leaf.detach().requires_grad_() for leaf in leaves]
                partial = _partial(tile, leaves, keys, tile.take(out), tile.take(lse), unit.how)
                found = torch.autograd.grad((partial * wanted).sum(), leaves)
            slots, values = tile.give(found[0])
            dq[slots] += values
            places = key_positions(tile.piece, tile.rows.segments, keys)
            dk[places] += found[1].transpose(1, 2)
            dv[places] += found[2].transpose(1, 2)
    return dq, dk, dv


def _partial(
    tile: _Tile,
    leaves: list[torch.Tensor],
    keys: torch.Tensor,
    out: torch.Tensor,
    lse: torch.Tensor,
    how: Arithmetic,
) -> torch.Tensor:
    """(J, h, R, d): out, as a function of this tile's rows and keys alone."""
    q, k, v = leaves
    weights = (_scores(tile, q, k, keys, how) - lse[..., None]).exp()
    share, total = how.rounded(weights) @ v, weights.sum(-1, keepdim=True)
    return (share + (out - share).detach()) / (total + (1 - total).detach())


def _attend_tile(tile: _Tile, unit: Unit) -> tuple[torch.Tensor, torch.Tensor]:
    """(J, h, R, d) softmax-weighted values over the tile's piece alone, and (J, h, R, 1)
    log-sum-exp.
    """
    how, rows = unit.how, tile.take(unit.q)
    top = torch.full_like(rows[..., :1], -torch.inf)
    total, acc = torch.zeros_like(top), torch.zeros_like(rows)
    last = int(tile.rows.relative.max())
    for keys in tile.key_chunks():
        if how.causal and int(keys[0]) > last:
            break
        scores = _scores(tile, rows, tile.take_keys(unit.k, keys), keys, how)
        higher = torch.maximum(top, scores.amax(-1, keepdim=True))
        weights, shrink = scores.sub_(higher).exp_(), (top - higher).exp()
        total = total * shrink + weights.sum(-1, keepdim=True)
        acc = acc * shrink + how.rounded(weights) @ tile.take_keys(unit.v, keys)
        top = higher
    return acc / total, top + total.log()


def _scores(
    tile: _Tile, q: torch.Tensor, k: torch.Tensor, keys: torch.Tensor, how: Arithmetic
) -> torch.Tensor:
    """(J, h, R, M) scaled products, -inf for keys after the row if causal."""
    scores = how.rounded((q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2))
    if not how.causal:
        return scores
    later = keys > tile.rows.relative[:, None, :, None]
    return scores.masked_fill(later, -torch.inf)
