"""Dilated attention in blocks of positions: which rows attend to which keys in one call.

Keys are cut into blocks of `block` positions, as a ring of devices holds them; rows are not, unless
a bound on memory asks for windows of them. A segment within one block is attended to as a whole,
all neighbours that are alike in one call. The rows of a segment that crosses blocks meet its keys
block by block, merged by an online softmax in float32: a row's parts o_i with log-sum-exps l_i give
sum_i exp(l_i - l) o_i, where l = log sum_i exp(l_i). Under lse mixing the branches of a head are
merged by the very same rule. With one block and head_groups every row is in one part, and nothing
is merged.

This module is the schedule; `merge` carries it out by calls, `steps` makes the tables of one launch
per block of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import torch

from ..dilated_attention.pattern import Pattern, Piece

Span = tuple[int, int]
UNIT = 128  # selected rows: longer windows are cut at multiples of it, as kernels want


@dataclass(frozen=True)
class Part:
    """Rows of a piece that attend to some of its keys in one call.

    Attributes:
        segments: numbers of the segments, [first, last).
        rows: selected positions of each segment that ask, [first, last).
        keys: those that answer.
        causal: rows attend only to keys that are not after them; else to all of them.
        begins: these rows have met none of the piece's keys before.
        ends: they will meet none after.
    """

    piece: Piece
    segments: Span
    rows: Span
    keys: Span
    causal: bool
    begins: bool = True
    ends: bool = True

    @property
    def alone(self) -> bool:
        """Whether it is all that its rows take of the piece."""
        return self.begins and self.ends


Group = tuple[Part, ...]  # of the same segments: rows in a window, by blocks of keys


@dataclass(frozen=True)
class Window:
    """Positions [first, last) of heads that share their pieces, with every part that its rows take.

    Attributes:
        groups: parts by segments; no two groups of one piece share a row.
        mixed: its heads take several pieces.
        merged: some row takes several parts.
        filled: every row takes a part.
    """

    first: int
    last: int
    first_head: int
    heads: int
    groups: tuple[Group, ...]
    mixed: bool
    merged: bool
    filled: bool

    @property
    def parts(self) -> tuple[Part, ...]:
        """Those of all groups."""
        return tuple(chain.from_iterable(self.groups))

    @property
    def origin(self) -> tuple[int, int]:
        """Where it starts: position and head."""
        return self.first, self.first_head

    @property
    def whole(self) -> bool:
        """One group takes whole segments that make up all of it."""
        if len(self.groups) != 1:
            return False
        group = self.groups[0]
        part = group[0]
        length = part.piece.segment_length
        ends = (part.segments[0] * length, part.segments[1] * length)
        return ends == (self.first, self.last) and rows_of(group) == (0, part.piece.selected)

    def of(self, t: torch.Tensor) -> torch.Tensor:
        """(b, n, H, ...) -> its positions and heads."""
        return t[:, self.first : self.last, self.first_head : self.first_head + self.heads]


@dataclass(frozen=True)
class Extent:
    """How large a window may be: heads, and positions."""

    heads: int
    positions: int


def windows(
    pattern: Pattern, block: int, causal: bool, extents: Sequence[Extent] | None = None
) -> tuple[Window, ...]:
    """The schedule: every row of every piece in exactly one window, with all of its keys.

    Args:
        pattern: who attends to whom.
        block: positions of a block of keys.
        causal: rows attend to keys that are not after them.
        extents: of the windows of each of the pattern's runs of heads; None: a window for each run.
    """
    found = []
    for run, extent in zip(pattern.head_runs, extents or whole(pattern), strict=True):
        mixed = len(run.pieces) > 1
        for head in range(run.first_head, run.last_head, extent.heads):
            heads = min(extent.heads, run.last_head - head)
            pieces = [replace(piece, first_head=head, heads=heads) for piece in run.pieces]
            for first in range(0, pattern.seq_len, extent.positions):
                last = min(first + extent.positions, pattern.seq_len)
                groups: list[Group] = []
                for piece in pieces:
                    groups.extend(_groups(piece, first, last, block, causal))
                alone = all(part.alone for part in chain.from_iterable(groups))
                merged = mixed or not alone
                filled = not mixed and pieces[0].rate == 1
                found.append(Window(first, last, head, heads, tuple(groups), mixed, merged, filled))
    return tuple(found)


def whole(pattern: Pattern) -> list[Extent]:
    """Windows of all heads and positions of each run."""
    return [Extent(run.heads, pattern.seq_len) for run in pattern.head_runs]


def whole_units(size: int, rate: int) -> int:
    """The size of a window, cut down to multiples of UNIT rows where it is longer."""
    unit = UNIT * rate
    return size // unit * unit if size > unit else max(1, size)


def rows_of(group: Group) -> Span:
    """The rows that a group's parts take together."""
    return min(part.rows[0] for part in group), max(part.rows[1] for part in group)


def depth(group: Group) -> int:
    """How many parts a row takes at most: the last row takes as many as any."""
    last = rows_of(group)[1]
    return sum(part.rows[1] == last for part in group)


def crossing(piece: Piece, seq_len: int, block: int) -> list[int]:
    """The numbers of the segments that do not lie within one block."""
    length = piece.segment_length
    return sorted({border // length for border in range(block, seq_len, block) if border % length})


def meetings(
    piece: Piece, segment: int, rows: Span, block: int, causal: bool
) -> Iterator[tuple[int, Part]]:
    """The numbered blocks of keys that these rows of a segment meet, in order."""
    start, segments = segment * piece.segment_length, (segment, segment + 1)
    last = start + piece.segment_length - 1
    spans = []
    for number in range(start // block, last // block + 1):
        keys = within(piece, number * block - start, (number + 1) * block - start)
        # what a block has of the segment may be shorter than the rate, without a selected position
        if keys[0] < keys[1]:
            spans.append((number, keys))
    for number, keys in spans:
        begins, final = number == spans[0][0], number == spans[-1][0]
        if not causal:
            yield number, Part(piece, segments, rows, keys, False, begins, final)
            continue
        own = (max(rows[0], keys[0]), min(rows[1], keys[1]))
        later = (max(rows[0], keys[1]), rows[1])
        if own[0] < own[1]:
            yield number, Part(piece, segments, own, keys, True, begins, True)
        if later[0] < later[1]:
            yield number, Part(piece, segments, later, keys, False, begins, False)


def within(piece: Piece, first: int, last: int) -> Span:
    """The selected positions of a segment in [first, last), counted from the segment's start."""

    def before(position: int) -> int:
        return min(max(-(-(position - piece.offset) // piece.rate), 0), piece.selected)

    return before(first), before(last)


def _groups(piece: Piece, first: int, last: int, block: int, causal: bool) -> Iterator[Group]:
    """The parts of one piece's rows in [first, last); alike neighbouring segments are one group."""
    before: tuple[Span, list[Part]] | None = None
    for segments, parts in _runs(piece, first, last, block, causal):
        if before and before[0][1] == segments[0] and _alike(before[1], parts):
            before = (before[0][0], segments[1]), parts
            continue
        if before:
            yield tuple(replace(part, segments=before[0]) for part in before[1])
        before = segments, parts
    if before:
        yield tuple(replace(part, segments=before[0]) for part in before[1])


def _alike(some: list[Part], others: list[Part]) -> bool:
    """Whether these parts of different segments are the same but for that."""
    return [replace(part, segments=(0, 0)) for part in some] == [
        replace(part, segments=(0, 0)) for part in others
    ]


def _runs(
    piece: Piece, first: int, last: int, block: int, causal: bool
) -> Iterator[tuple[Span, list[Part]]]:
    """Segments in order: those within one block and the window together, the others one by one."""
    length, segment = piece.segment_length, first // piece.segment_length
    while segment * length < last:
        start = segment * length
        inner = min(last, (start // block + 1) * block) // length
        if start >= first and inner > segment:
            whole = (0, piece.selected)
            yield (segment, inner), [Part(piece, (segment, inner), whole, whole, causal)]
            segment = inner
            continue
        rows = within(piece, first - start, last - start)
        parts: list[Part] = []
        if rows[0] < rows[1]:
            for _, part in meetings(piece, segment, rows, block, causal):
                parts.extend(_squares(part))
        if parts:
            yield (segment, segment + 1), parts
        segment += 1


def _squares(part: Part) -> Iterator[Part]:
    """The part as calls take it: causal only where rows and keys are the same."""
    if not part.causal or part.rows == part.keys:
        yield part
        return
    if part.keys[0] < part.rows[0]:
        yield replace(part, keys=(part.keys[0], part.rows[0]), causal=False, ends=False)
    yield replace(part, keys=part.rows, begins=part.begins and part.keys[0] == part.rows[0])
