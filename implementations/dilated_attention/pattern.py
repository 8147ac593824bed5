"""The pattern of dilated attention as arithmetic: which heads attend to which positions. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any


@dataclass(frozen=True)
class Piece:
    """Contiguous heads that share one branch and one offset.

    In segment j the positions j * segment_length + offset + rate * (0 .. selected - 1) attend to
    one another.
    """

    branch: int
    segment_length: int
    rate: int
    offset: int
    first_head: int
    heads: int

    @property
    def last_head(self) -> int:
        """One past the last head."""
        return self.first_head + self.heads

    @property
    def selected(self) -> int:
        """Positions of one segment that take part: ceil((segment_length - offset) / rate)."""
        return -(-(self.segment_length - self.offset) // self.rate)

    def holds(self, head: int) -> bool:
        """Whether this head is one of the piece's."""
        return self.first_head <= head < self.last_head


@dataclass(frozen=True)
class HeadRun:
    """Contiguous heads that take exactly the same pieces."""

    first_head: int
    heads: int
    pieces: tuple[Piece, ...]

    @property
    def last_head(self) -> int:
        """One past the last head."""
        return self.first_head + self.heads

    @property
    def finest(self) -> int:
        """The shortest segment length among the pieces."""
        return min(piece.segment_length for piece in self.pieces)


def group_sizes(heads: int, groups: int) -> tuple[int, ...]:
    """Sizes of `groups` contiguous groups of heads; the first heads % groups are one larger."""
    return tuple(heads // groups + (group < heads % groups) for group in range(groups))


@dataclass(frozen=True)
class Pattern:
    """Everything that decides who attends to whom, causality aside."""

    seq_len: int
    heads: int
    segment_lengths: tuple[int, ...]
    dilation_rates: tuple[int, ...]
    mixing: str = "head_groups"

    @classmethod
    def of(cls, config: Any) -> Pattern:
        """The pattern of a Config or of DilatedAttentionParams."""
        lengths, rates = tuple(config.segment_lengths), tuple(config.dilation_rates)
        return cls(config.seq_len, config.heads, lengths, rates, config.mixing)

    @property
    def scale(self) -> float:
        """What the mixture of branches is multiplied by: 1 / G for head_groups, 1 for lse."""
        return 1.0 / len(self.segment_lengths) if self.mixing == "head_groups" else 1.0

    @cached_property
    def pieces(self) -> tuple[Piece, ...]:
        """All pieces, by branch and then by head. Under head_groups no two of them share a head."""
        return self._grouped() if self.mixing == "head_groups" else self._shared()

    @cached_property
    def head_runs(self) -> tuple[HeadRun, ...]:
        """The heads cut wherever a piece starts or ends, in order."""
        cuts = sorted({piece.first_head for piece in self.pieces} | {self.heads})
        runs = []
        for first, last in pairwise(cuts):
            # no piece starts or ends within a run: what holds its first head holds all of them
            pieces = tuple(piece for piece in self.pieces if piece.holds(first))
            runs.append(HeadRun(first, last - first, pieces))
        return tuple(runs)

    @property
    def shares_heads(self) -> bool:
        """Whether heads take several branches, whose results are merged."""
        return self.mixing == "lse" and len(self.segment_lengths) > 1

    @cached_property
    def full_coverage(self) -> bool:
        """Whether every position of every head takes part: some piece of each run has rate 1."""
        for run in self.head_runs:
            rates = [piece.rate for piece in run.pieces]
            if 1 not in rates:
                return False
        return True

    def _grouped(self) -> tuple[Piece, ...]:
        """Branch i for the i-th group of heads, at offset i mod rate."""
        pieces, first = [], 0
        sizes = group_sizes(self.heads, len(self.segment_lengths))
        for i, (length, rate, size) in enumerate(
            zip(self.segment_lengths, self.dilation_rates, sizes, strict=True)
        ):
            pieces.append(Piece(i, length, rate, i % rate, first, size))
            first += size
        return tuple(pieces)

    def _shared(self) -> tuple[Piece, ...]:
        """Every branch for every head; head h at offset h // ceil(heads / rate), so equal offsets
        are contiguous.
        """
        pieces = []
        for i, (length, rate) in enumerate(
            zip(self.segment_lengths, self.dilation_rates, strict=True)
        ):
            per_offset = -(-self.heads // rate)
            for first in range(0, self.heads, per_offset):
                size = min(per_offset, self.heads - first)
                pieces.append(Piece(i, length, rate, first // per_offset, first, size))
        return tuple(pieces)

    def covered(self, run: HeadRun) -> int:
        """How many positions of one head of the run take part in at least one of its pieces."""
        if len(run.pieces) == 1:
            piece = run.pieces[0]
            return self.seq_len // piece.segment_length * piece.selected
        marks = bytearray(self.seq_len)
        for piece in run.pieces:
            self._mark(marks, piece)
        return marks.count(1)

    def _mark(self, marks: bytearray, piece: Piece) -> None:
        segment = bytearray(piece.segment_length)
        segment[piece.offset :: piece.rate] = b"\x01" * piece.selected
        whole = int.from_bytes(segment * (self.seq_len // piece.segment_length), "little")
        marks[:] = (int.from_bytes(marks, "little") | whole).to_bytes(self.seq_len, "little")
