"""The tables of a launch for each block of keys, decoded one tile at a time as the kernel does it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from implementations.dilated_attention.pattern import Pattern
from implementations.kernels.steps import FIELDS, NEVER, Steps
from tests.implementations import oracle
from tests.implementations.problems import any_params

brief = settings(max_examples=40, deadline=None)


@dataclass
class Tile:
    """What the kernel makes of a tile's number."""

    length: int
    rate: int
    offset: int
    selected: int
    head: int
    batch: int
    segment: int
    compact: int
    rows: range
    end: int
    keys: range
    begins: bool
    ends: bool
    state: int

    @property
    def start(self) -> int:
        """The segment's first position."""
        return self.segment * self.length

    def position(self, row: int) -> int:
        """Of a selected row, or of a key."""
        return self.start + self.offset + row * self.rate

    def written(self) -> list[int]:
        """Positions of the output that it writes, zeros included, if it ends."""
        stop = min(self.length, self.end * self.rate)
        return [
            self.start + p
            for row in self.rows
            for p in range(row * self.rate, (row + 1) * self.rate)
            if p < stop
        ]


def decoded(table: tuple[int, ...], tile: int, batches: int, size: int) -> Tile:
    """Tile number `tile` of a launch, `size` rows each."""
    entries = [table[i : i + FIELDS] for i in range(0, len(table), FIELDS)]
    e = entries[sum(tile >= entry[0] for entry in entries[1:])]
    rest, block = divmod(tile - e[0], e[7])
    rest, near = divmod(rest, e[6])
    batch, segment = divmod(rest, e[8])
    segment += e[10]
    share = (batch * e[11] + segment) * e[6] + near
    first = e[12] + block * size
    return Tile(
        e[1], e[2], e[3], e[4], e[5] + near, batch, segment, e[9] * batches + share * e[4],
        range(first, min(first + size, e[13])), e[13], range(e[14], e[15]), bool(e[16]), bool(e[17]),
        e[18] + (batch * e[6] + near) * e[19],
    )  # fmt: skip


@given(
    of=any_params(mixing="head_groups"), tile=st.sampled_from([1, 4, 16]), size=st.integers(1, 70)
)
@brief
def test_each_row_meets_its_keys_once_and_each_byte_is_written_once(of, tile, size):
    """Begun before it is continued, ended last, in a state of its own meanwhile; whatever the
    window.
    """
    block = -(-of.seq_len // of.ring_size)
    steps = Steps.of(Pattern.of(of), of.batch, block, of.causal, tile, 1, size)
    pairs, written = Counter(), Counter()
    open_rows: dict[tuple[int, int, int], int] = {}
    compact: dict[int, tuple[int, int, int]] = {}
    for table, count in zip(steps.tables, steps.counts, strict=True):
        assert len(table) == steps.entries * FIELDS
        for number in range(count):
            t = decoded(table, number, of.batch, tile)
            if t.ends:
                written.update((t.batch, p, t.head) for p in t.written())
            for row in (row for row in t.rows if row < t.selected):
                place = (t.batch, t.position(row), t.head)
                assert compact.setdefault(t.compact + row, place) == place
                state = t.state + row
                if t.begins:
                    assert place not in open_rows
                    assert t.ends or state not in open_rows.values()
                else:
                    assert open_rows.pop(place) == state
                if not t.ends:
                    open_rows[place] = state
                    assert 0 <= state < steps.carried
                pairs.update(
                    (*place, t.position(key)) for key in t.keys if not of.causal or key <= row
                )
    assert not open_rows
    masks = oracle.head_masks(of)
    right = {(h, *pair) for h, (mask,) in enumerate(masks) for pair in mask.nonzero().tolist()}
    assert pairs == Counter((b, row, h, key) for b in range(of.batch) for h, row, key in right)
    every = [(b, p, h) for b in range(of.batch) for p in range(of.seq_len) for h in range(of.heads)]
    assert written == Counter(every)


@pytest.mark.parametrize(
    ("block", "launches", "carried"), [(1024, 4, 2048 * 3 // 2 * 2 + 1024 * 2), (2048, 2, 1024 * 2)]
)
def test_a_launch_for_each_block(block, launches, carried):
    """Rows of segments within a block carry nothing."""
    pattern = Pattern(4096, 8, (1024, 2048, 4096), (1, 2, 4))
    steps = Steps.of(pattern, 1, block, False, 128, 64)
    assert len(steps.tables) == launches
    assert steps.carried == carried
    assert steps.even


def test_windows_of_rows_carry_less():
    """A window runs through the blocks that its rows meet, and no others."""
    pattern = Pattern(4096, 2, (2048, 4096), (1, 1))
    steps = Steps.of(pattern, 1, 1024, False, 128, 64, 2048)
    assert len(steps.tables) == 8
    assert steps.carried == 4096
    local = Steps.of(Pattern(4096, 1, (2048,), (1,)), 1, 1024, False, 128, 64, 2048)
    assert len(local.tables) == 4
    assert local.carried == 2048


def test_tables_are_equally_long():
    """So that one compiled kernel serves all steps: entries that no tile reaches fill them up."""
    steps = Steps.of(Pattern(60, 2, (20, 60), (1, 1)), 1, 16, True, 4, 4)
    assert {len(table) for table in steps.tables} == {steps.entries * FIELDS}
    assert any(NEVER in table for table in steps.tables)
