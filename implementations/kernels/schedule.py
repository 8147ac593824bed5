"""Dilated attention in blocks of positions: which rows attend to which keys in one call.

The sequence is cut into blocks of `block` positions. A segment within one block is attended to as a whole, all such
segments of a block in one call. A segment that crosses blocks is taken as pairs (rows of one block, keys of another),
merged by an online softmax in float32: a row's parts o_i with log-sum-exps l_i give sum_i exp(l_i - l) o_i, where
l = log sum_i exp(l_i). Under lse mixing the branches of a head are merged by the very same rule. With one block and
head_groups every row is in one part, and nothing is merged.

This module is the schedule; `merge` carries it out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from implementations.dilated_attention.pattern import Pattern, Piece


@dataclass(frozen=True)
class Part:
    """Rows of a piece that attend to some of its keys in one call.

    Attributes:
        segments: numbers of the segments, [first, last).
        rows: selected positions of each segment that ask, [first, last).
        keys: those that answer.
        causal: rows and keys are the same and attend only backward.
    """

    piece: Piece
    segments: tuple[int, int]
    rows: tuple[int, int]
    keys: tuple[int, int]
    causal: bool


@dataclass(frozen=True)
class Window:
    """A block of positions [first, last) of heads that share their pieces, with every part that its rows take.

    Attributes:
        merged: some row takes several parts.
        filled: every row takes exactly one.
    """

    first: int
    last: int
    first_head: int
    heads: int
    parts: tuple[Part, ...]
    merged: bool
    filled: bool

    @property
    def origin(self) -> tuple[int, int]:
        """Where it starts: position and head."""
        return self.first, self.first_head

    @property
    def whole(self) -> bool:
        """One part takes whole segments that make up all of it."""
        if len(self.parts) != 1:
            return False
        (part,) = self.parts
        length = part.piece.segment_length
        ends = (part.segments[0] * length, part.segments[1] * length)
        return ends == (self.first, self.last) and part.rows == (0, part.piece.selected)

    def of(self, t: torch.Tensor) -> torch.Tensor:
        """(b, n, H, ...) -> its positions and heads."""
        return t[:, self.first : self.last, self.first_head : self.first_head + self.heads]


def windows(pattern: Pattern, block: int, causal: bool) -> tuple[Window, ...]:
    """The schedule: every row of every piece in exactly one window, with all of its keys."""
    found = []
    for first in range(0, pattern.seq_len, block):
        last = min(first + block, pattern.seq_len)
        for run in pattern.head_runs:
            pieces = [replace(piece, first_head=run.first_head, heads=run.heads) for piece in run.pieces]
            parts = [part for piece in pieces for part in _parts(piece, first, last, block, causal)]
            merged = len(pieces) > 1 or any(part.keys != (0, part.piece.selected) for part in parts)
            filled = not merged and pieces[0].rate == 1
            found.append(Window(first, last, run.first_head, run.heads, tuple(parts), merged, filled))
    return tuple(found)


def _parts(piece: Piece, first: int, last: int, block: int, causal: bool) -> Iterator[Part]:
    """What the rows of one piece within [first, last) take."""
    length = piece.segment_length
    inner = (-(-first // length), last // length)
    if inner[0] < inner[1]:
        yield Part(piece, inner, (0, piece.selected), (0, piece.selected), causal)
    for segment in sorted({first // length, (last - 1) // length} - set(range(*inner))):
        yield from _crossing(piece, segment, first, last, block, causal)


def _crossing(piece: Piece, segment: int, first: int, last: int, block: int, causal: bool) -> Iterator[Part]:
    """Pairs of blocks for a segment that does not lie within one."""
    start = segment * piece.segment_length
    rows = _within(piece, first - start, last - start)
    if rows[0] == rows[1]:
        return
    for other in range(start // block * block, start + piece.segment_length, block):
        keys = _within(piece, other - start, other + block - start)
        if keys[0] < keys[1] and not (causal and other > first):
            yield Part(piece, (segment, segment + 1), rows, keys, causal and other == first)


def _within(piece: Piece, first: int, last: int) -> tuple[int, int]:
    """Which selected positions of a segment lie in [first, last), both counted from the segment's start."""

    def before(position: int) -> int:
        return min(max(-(-(position - piece.offset) // piece.rate), 0), piece.selected)

    return before(first), before(last)
