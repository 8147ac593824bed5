"""Plans one launch for all branches: numbered tiles of rows, and the table that decodes them.

A tile is `block` consecutive rows of one head of one segment. Rows are the selected positions,
counted within their segment; one row stands for `rate` positions, of which the tile writes one
result and rate - 1 zeros, so that each byte of the output is written once, by one launch. No torch,
no Triton.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..dilated_attention.pattern import Pattern, Piece

FIELDS = 10  # of a piece in the table: see `Tiles.table`
MANY = 16  # pieces: of more, a kernel loads all first tiles at once
NEVER = 2**31 - 1  # the first tile of a piece that fills up the table


@dataclass(frozen=True)
class Tiles:
    """The tiles of a pattern.

    Attributes:
        table: FIELDS numbers for each piece, longest segments of rows first, so that no long tile
            starts last: first tile, segment length, rate, offset, selected rows, first head, heads,
            tiles of a segment, segments, and first row of the piece among all selected rows of the
            batch (see `compact_rows`), per batch entry. More than MANY are filled up to a power
            of 2 by pieces that no tile belongs to.
        count: tiles of all batch entries.
        pieces: in the table.
        even: every segment's rows fill blocks of `inner` keys exactly.
    """

    table: tuple[int, ...]
    count: int
    pieces: int
    even: bool

    @classmethod
    def of(cls, pattern: Pattern, batch: int, block: int, inner: int) -> Tiles:
        """Tiles of `block` rows that meet `inner` keys at a time."""
        pieces = longest_first(pattern)
        table: list[int] = []
        count = 0
        first_rows = compact_rows(pattern)
        for piece in pieces:
            per_segment = -(-row_groups(piece) // block)
            segments = pattern.seq_len // piece.segment_length
            table += [count, piece.segment_length, piece.rate, piece.offset, piece.selected]
            table += [piece.first_head, piece.heads, per_segment, segments, first_rows[piece]]
            count += per_segment * segments * piece.heads * batch
        even = all(piece.selected % inner == 0 for piece in pieces)
        entries = len(pieces)
        if entries > MANY:
            entries = 1 << (entries - 1).bit_length()
            table += [NEVER, *[0] * (FIELDS - 1)] * (entries - len(pieces))
        return cls(tuple(table), count, entries, even)


def longest_first(pattern: Pattern) -> list[Piece]:
    """The pieces as `Tiles.table` has them."""
    return sorted(pattern.pieces, key=lambda piece: -piece.selected)


def entries_of_heads(pattern: Pattern) -> tuple[int, ...]:
    """(branches, H) under lse: which piece of `Tiles.table` a head takes in each branch."""
    found = {}
    for entry, piece in enumerate(longest_first(pattern)):
        for head in range(piece.first_head, piece.last_head):
            found[piece.branch, head] = entry
    return tuple(found[key] for key in sorted(found))


def compact_rows(pattern: Pattern) -> dict[Piece, int]:
    """The start of each piece among all selected rows, per batch entry.

    The order is (pieces, batch, segments, heads, rows).

    What the backward pass needs of each row is kept in this order, so that a piece's share is one
    (B, g, m) tensor.
    """
    first, found = 0, {}
    for piece in pattern.pieces:
        found[piece] = first
        first += pattern.seq_len // piece.segment_length * piece.heads * piece.selected
    return found


def row_groups(piece: Piece) -> int:
    """The number of runs of `rate` positions in a segment; the last may be cut short."""
    return -(-piece.segment_length // piece.rate)


def tiles_at(pattern: Pattern, batch: int, block: int) -> int:
    """How many tiles of `block` rows the pattern has."""
    return Tiles.of(pattern, batch, block, 1).count
