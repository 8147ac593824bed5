"""One softmax per row over the union of its keys, computed in tiles: the arithmetic of the
reference.

A row (position and head) attends to the multiset union of the keys that its pieces give it. Under
head_groups that is one piece; under lse it is one per branch, and the merge of branches by their
log-sum-exps is exactly this one softmax. Nothing here calls an attention kernel: products,
exponentials and sums only, with at most TILE scores at a time; on a GPU, whose launches take longer
than its arithmetic, `room` times as many.
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


def room(device: torch.device) -> int:
    """How many times the scores, or heads, that fit a processor's caches a device takes at a time:
    1, or up to 8 where that is a twentieth of a GPU's memory at most.
    """
    if device.type != "cuda":
        return 1
    return max(1, min(8, torch.cuda.get_device_properties(device).total_memory // 2**31))


@dataclass(frozen=True)
class _Tile:
    """Some rows of some segments, where the keys are.

    Attributes:
        segments: (J,) their numbers.
        slots: (J, R) index into the unit's positions; a segment with fewer rows repeats its first.
        relative: (J, R) which of the segment's selected positions a row is.
        last: the largest of these.
        valid: (J, R) False for repeats; None: there are none.
        kept: where valid, as indices into J * R; None: everywhere.
    """

    piece: Piece
    segments: torch.Tensor
    slots: torch.Tensor
    relative: torch.Tensor
    last: int
    valid: torch.Tensor | None
    kept: torch.Tensor | None

    @classmethod
    def of(cls, piece: Piece, rows: SegmentRows, device: torch.device) -> _Tile:
        """The tile of these rows on the device; what is counted was counted on the host."""
        valid = kept = None
        if not rows.valid.all():
            valid, kept = rows.valid.to(device), rows.valid.flatten().nonzero().flatten().to(device)
        segments, slots, relative = (
            one.to(device) for one in (rows.segments, rows.slots, rows.relative)
        )
        return cls(piece, segments, slots, relative, int(rows.relative.max()), valid, kept)

    def key_chunks(self, causal: bool) -> Iterator[torch.Tensor]:
        """Numbers of the keys within a segment, KEYS at a time; if causal, as far as a row sees."""
        count = self.piece.selected
        seen = self.last + 1 if causal else count
        for first in range(0, seen, KEYS):
            yield torch.arange(first, min(first + KEYS, count), device=self.segments.device)

    def take(self, tensor: torch.Tensor) -> torch.Tensor:
        """(P, h, ...) -> (J, h, R, ...): the tile's rows."""
        return tensor[self.slots].transpose(1, 2)

    def places(self, keys: torch.Tensor) -> torch.Tensor:
        """(J, M) positions of these keys of the tile's segments."""
        return key_positions(self.piece, self.segments, keys)

    def give(self, tensor: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(J, h, R, ...) -> slots (N,) and their values (N, h, ...), without repeats."""
        slots, values = self.slots.flatten(), tensor.transpose(1, 2).flatten(0, 1)
        return (slots, values) if self.kept is None else (slots[self.kept], values[self.kept])


@dataclass(frozen=True)
class Unit:
    """Some heads that share their pieces, of one batch entry or of several, which are alike.

    Attributes:
        q: (P, h, d), the rows at `positions`, in the dtype that is computed in.
        k: (n, h, d), all positions, in any dtype: of sampled rows few tiles look at them, each at
            its own keys, and to widen them all would take longer than to attend.
        v: (n, h, d), likewise.
        positions: (P,) sorted.
    """

    run: HeadRun
    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    positions: torch.Tensor
    how: Arithmetic

    def at(self, tensor: torch.Tensor, tile: _Tile, keys: torch.Tensor) -> torch.Tensor:
        """(J, h, M, d) of k or v: these keys of the tile's segments, in the dtype of q."""
        return tensor[tile.places(keys)].to(self.q.dtype).transpose(1, 2)

    def tiles(self) -> Iterator[_Tile]:
        """All rows, as many scores at a time as the device takes."""
        device = self.q.device
        most = TILE * room(device)
        for piece in self.run.pieces:
            rows = rows_of(piece, self.positions)
            keys = min(piece.selected, KEYS) * self.q.shape[1]
            width = max(1, min(rows.slots.shape[1], most // keys))
            height = max(1, most // (keys * width))
            for j in range(0, len(rows.segments), height):
                for r in range(0, rows.slots.shape[1], width):
                    part = rows.part(slice(j, j + height), slice(r, r + width))
                    yield _Tile.of(piece, part, device)


def as_heads(tensor: torch.Tensor) -> torch.Tensor:
    """(b, n, h, d) -> (n, b * h, d): the heads of all batch entries."""
    return tensor.transpose(0, 1).flatten(1, 2)


def by_entry(tensor: torch.Tensor, entries: int) -> torch.Tensor:
    """(n, b * h, ...) -> (b, n, h, ...): the reverse of `as_heads`."""
    count = tensor.shape[1] // entries
    return tensor.reshape(len(tensor), entries, count, *tensor.shape[2:]).transpose(0, 1)


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
    dtype = unit.q.dtype
    dq = torch.zeros_like(unit.q)
    dk, dv = torch.zeros_like(unit.k, dtype=dtype), torch.zeros_like(unit.v, dtype=dtype)
    for tile in unit.tiles():
        wanted = tile.take(upstream)
        if tile.valid is not None:
            wanted = wanted * tile.valid[:, None, :, None]
        for keys in tile.key_chunks(unit.how.causal):
            places = tile.places(keys)
            leaves = [tile.take(unit.q), unit.at(unit.k, tile, keys), unit.at(unit.v, tile, keys)]
            with torch.enable_grad():
                leaves = [leaf.detach().requires_grad_() for leaf in leaves]
                partial = _partial(tile, leaves, keys, tile.take(out), tile.take(lse), unit.how)
                found = torch.autograd.grad((partial * wanted).sum(), leaves)
            slots, values = tile.give(found[0])
            dq[slots] += values
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
    for keys in tile.key_chunks(how.causal):
        scores = _scores(tile, rows, unit.at(unit.k, tile, keys), keys, how)
        higher = torch.maximum(top, scores.amax(-1, keepdim=True))
        weights, shrink = scores.sub_(higher).exp_(), (top - higher).exp()
        total = total * shrink + weights.sum(-1, keepdim=True)
        acc = acc * shrink + how.rounded(weights) @ unit.at(unit.v, tile, keys)
        top = higher
    return acc / total, top + total.log()


def _scores(
    tile: _Tile, q: torch.Tensor, k: torch.Tensor, keys: torch.Tensor, how: Arithmetic
) -> torch.Tensor:
    """(J, h, R, M) scaled products, -inf for keys after the row if causal."""
    scores = how.rounded((q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2))
    if not how.causal:
        return scores
    later = keys > tile.relative[:, None, :, None]
    return scores.masked_fill(later, -torch.inf)
