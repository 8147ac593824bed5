"""Divides the work of a sequence sharded over ranks: spans of selected rows. No torch.

Rank i holds positions [i n / w, (i + 1) n / w). A piece whose segments each lie within one rank is
local. The ranks that a segment of any other piece touches form a group, within which its selected
rows, keys and values are shared.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from ..dilated_attention.pattern import Piece


@dataclass(frozen=True)
class Span:
    """Rows [first, last) of a group's segment, counted among its selected positions."""

    segment: int
    first: int
    last: int


@dataclass(frozen=True)
class Shares:
    """How a group of neighbouring ranks shares the segments of one piece.

    Attributes:
        piece: which positions and heads take part.
        held: positions that each rank holds.
        ranks: of the group, in order; together they hold whole segments.
        causal: rows meet only the keys that are not after them, so that later rows are more work.
    """

    piece: Piece
    held: int
    ranks: range
    causal: bool

    @property
    def segments(self) -> int:
        """How many segments the group holds."""
        return len(self.ranks) * self.held // self.piece.segment_length

    @property
    def rows(self) -> int:
        """How many positions of the group take part."""
        return self.segments * self.piece.selected

    @cached_property
    def positions(self) -> tuple[tuple[int, ...], ...]:
        """For each rank of the group, its positions that take part, counted from its first one."""
        found: list[list[int]] = [[] for _ in self.ranks]
        for segment in range(self.segments):
            start = segment * self.piece.segment_length + self.piece.offset
            for position in range(
                start, start + self.piece.selected * self.piece.rate, self.piece.rate
            ):
                found[position // self.held].append(position % self.held)
        return tuple(tuple(one) for one in found)

    @cached_property
    def first_rows(self) -> tuple[int, ...]:
        """For each rank of the group the number of rows before its own; then the number of all."""
        starts = [0]
        for positions in self.positions:
            starts.append(starts[-1] + len(positions))
        return tuple(starts)

    def owned(self, member: int) -> list[Span]:
        """The rows that the group's rank number `member` holds."""
        return self._spans(self.first_rows[member], self.first_rows[member + 1])

    def computed(self, member: int) -> list[Span]:
        """The rows that the group's rank number `member` computes.

        Without causality those that it holds. With it each segment is cut into twice as many chunks
        as it has ranks, and its i-th rank takes the i-th chunk and the i-th from the end (zigzag),
        so that all have the same work.
        """
        if not self.causal:
            return self.owned(member)
        found = []
        for segment in range(self.segments):
            members = self._members(segment)
            if member not in members:
                continue
            place, chunks, m = members.index(member), 2 * len(members), self.piece.selected
            for chunk in (place, chunks - 1 - place):
                span = Span(segment, m * chunk // chunks, m * (chunk + 1) // chunks)
                if span.first < span.last:
                    found.append(span)
        return found

    def sent(self, member: int) -> list[list[int]]:
        """For each rank of the group the rows of `member` that it computes, counted in `member`."""
        start, end = self.first_rows[member], self.first_rows[member + 1]
        found = []
        for other in range(len(self.ranks)):
            rows: list[int] = []
            for span in self.computed(other):
                rows.extend(self._rows_of(span))
            found.append([row - start for row in sorted(rows) if start <= row < end])
        return found

    def _rows_of(self, span: Span) -> range:
        start = span.segment * self.piece.selected
        return range(start + span.first, start + span.last)

    def _members(self, segment: int) -> list[int]:
        """Which of the group's ranks a segment touches."""
        length = self.piece.segment_length
        return list(
            range(segment * length // self.held, ((segment + 1) * length - 1) // self.held + 1)
        )

    def _spans(self, first: int, last: int) -> list[Span]:
        """Rows [first, last) of the group, segment by segment."""
        m, found = self.piece.selected, []
        while first < last:
            segment = first // m
            end = min(last, (segment + 1) * m)
            found.append(Span(segment, first - segment * m, end - segment * m))
            first = end
        return found


def is_local(piece: Piece, held: int) -> bool:
    """Whether each segment of the piece lies within one rank."""
    return held % piece.segment_length == 0


def groups_of(piece: Piece, held: int, world_size: int) -> list[range]:
    """The groups of ranks that share segments: one for each segment of whole ranks, else one."""
    if piece.segment_length % held:
        return [range(world_size)]
    size = piece.segment_length // held
    return [range(first, first + size) for first in range(0, world_size, size)]
