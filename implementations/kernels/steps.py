"""Plans launches that serve all branches, keys in blocks: each with a table of its tiles.

A step is a block of keys. It serves the rows of all pieces that meet this block: segments within it
wholly, and rows of segments that cross blocks, which carry a state from step to step: the result so
far in float32 and its log-sum-exp. The last step of a row writes the result, and the zeros of the
positions that the row stands for, as `tiles` has it: each byte of the output is written by one step
alone. Where the state of all rows would be too large, rows are taken in windows of positions, each
through all its steps before the next. No torch, no Triton.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from ..dilated_attention.pattern import Pattern, Piece
from .schedule import Part, crossing, meetings, within
from .tiles import compact_rows, row_groups

FIELDS = 20  # of an entry: those of `tiles`, then see `_entry`; 16 bytes divide an entry
NEVER = 2**31 - 1  # the first tile of an entry that only makes tables equally long


@dataclass(frozen=True)
class Entry:
    """Rows that meet keys in one step.

    Attributes:
        state: where the first of the carried rows of the part's segment stands among all that are
            carried at once.
        carried: how many rows of the segment are.
        first: the first of them.
    """

    part: Part
    state: int = 0
    carried: int = 0
    first: int = 0


@dataclass(frozen=True)
class Steps:
    """The launches for a pattern under head_groups.

    Attributes:
        tables: of each launch, FIELDS numbers for each of `entries` entries.
        counts: tiles of each launch.
        even: every step's keys of a segment fill blocks of `inner` keys exactly.
        carried: rows whose state is carried at the same time.
    """

    tables: tuple[tuple[int, ...], ...]
    counts: tuple[int, ...]
    entries: int
    even: bool
    carried: int

    @classmethod
    def of(
        cls,
        pattern: Pattern,
        batch: int,
        block: int,
        causal: bool,
        tile: int,
        inner: int,
        size: int | None = None,
    ) -> Steps:
        """Tiles of `tile` rows that meet `inner` keys at a time.

        Args:
            pattern: who attends to whom.
            batch: entries of the batch.
            block: positions of a block of keys.
            causal: rows attend to keys that are not after them.
            tile: rows of a tile.
            inner: keys that a tile meets at a time.
            size: positions of a window of rows; None: all.
        """
        launches, carried = [], 0
        size = size or pattern.seq_len
        for first in range(0, pattern.seq_len, size):
            last = min(first + size, pattern.seq_len)
            steps, rows = window(pattern, batch, block, causal, (first, last))
            launches += [steps[number] for number in sorted(steps)]
            carried = max(carried, rows)
        made = [_table(entries, pattern, batch, tile) for entries in launches]
        most = max(len(entries) for entries in launches)
        filler = (NEVER, *[1] * (FIELDS - 1))
        tables = tuple(table + filler * (most - len(table) // FIELDS) for table, _ in made)
        parts = [entry.part for entry in chain.from_iterable(launches)]
        even = all((part.keys[1] - part.keys[0]) % inner == 0 for part in parts)
        return cls(tables, tuple(count for _, count in made), most, even, carried)


def window(
    pattern: Pattern, batch: int, block: int, causal: bool, positions: tuple[int, int]
) -> tuple[dict[int, list[Entry]], int]:
    """The steps of rows at these positions by number of the block, and how many rows they carry.

    A segment within one block belongs wholly to the window in which it starts.
    """
    steps: dict[int, list[Entry]] = {}
    carried = 0
    for piece in pattern.pieces:
        for number, part in _inside(piece, pattern.seq_len, block, causal, positions):
            steps.setdefault(number, []).append(Entry(part))
        for segment in crossing(piece, pattern.seq_len, block):
            start = segment * piece.segment_length
            rows = within(piece, positions[0] - start, positions[1] - start)
            if rows[0] == rows[1]:
                continue
            parts = list(meetings(piece, segment, rows, block, causal))
            held = 0 if all(part.alone for _, part in parts) else rows[1] - rows[0]
            for number, part in parts:
                steps.setdefault(number, []).append(Entry(part, carried, held, rows[0]))
            carried += batch * piece.heads * held
    return steps, carried


def _inside(
    piece: Piece, seq_len: int, block: int, causal: bool, positions: tuple[int, int]
) -> Iterator[tuple[int, Part]]:
    """The segments within one block that start in the window, block by block."""
    length, rows = piece.segment_length, (0, piece.selected)
    for number in range(positions[0] // block, (positions[1] - 1) // block + 1):
        first = -(-max(number * block, positions[0]) // length)
        last = min(min((number + 1) * block, seq_len) // length, -(-positions[1] // length))
        if first < last:
            yield number, Part(piece, (first, last), rows, rows, causal)


def _table(
    entries: list[Entry], pattern: Pattern, batch: int, tile: int
) -> tuple[tuple[int, ...], int]:
    """A launch's table, rows that meet many keys first, and its number of tiles."""
    table: list[int] = []
    count, first_rows = 0, compact_rows(pattern)
    # longest first, so that no long tile starts last
    for entry in sorted(entries, key=lambda entry: entry.part.keys[0] - entry.part.keys[1]):
        part, piece = entry.part, entry.part.piece
        numbers = _entry(entry, tile, first_rows[piece], pattern.seq_len // piece.segment_length)
        table += [count, *numbers]
        tiles_of_segment = numbers[6]
        count += tiles_of_segment * (part.segments[1] - part.segments[0]) * piece.heads * batch
    return tuple(table), count


def _entry(entry: Entry, tile: int, first_row: int, segments: int) -> list[int]:
    """An entry's numbers after the first.

    They are segment length, rate, offset, selected rows, first head, heads, tiles of a segment,
    segments, first row of the piece (those of `tiles`); first segment, segments of the piece, first
    row, end of the rows (in runs of `rate` positions), first key, end of the keys, whether the rows
    begin here and whether they end here, row 0 of the segment among the carried rows, carried rows
    of the segment.
    """
    part, piece = entry.part, entry.part.piece
    end = row_groups(piece) if part.ends and part.rows[1] == piece.selected else part.rows[1]
    return [
        piece.segment_length,
        piece.rate,
        piece.offset,
        piece.selected,
        piece.first_head,
        piece.heads,
        -(-(end - part.rows[0]) // tile),
        part.segments[1] - part.segments[0],
        first_row,
        part.segments[0],
        segments,
        part.rows[0],
        end,
        *part.keys,
        int(part.begins),
        int(part.ends),
        entry.state - entry.first,
        entry.carried,
    ]
