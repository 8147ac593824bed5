"""Keeps a schedule within a bound on memory: windows of rows, and calls that run side by side.

The bound is relative: beyond inputs and output, SHARE of their size.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..dilated_attention.pattern import Pattern
from .schedule import Extent, Group, Window, depth, rows_of, whole_units

SHARE = 0.15  # of inputs and output together; what torch's kernels take for themselves comes on top
FLOAT = 4


def budget(positions: int, item: int) -> float:
    """Bytes, for inputs and an output of so many elements of `item` bytes each."""
    return SHARE * 4 * positions * item


def running(parts: int, item: int, fused: bool) -> int:
    """Bytes per element of the running result over so many parts, the inputs having `item`.

    Two parts are merged in one step, which computes in float32 wherever its result goes, if it is
    `fused`.
    """
    return item if parts < 2 or (parts == 2 and fused) else FLOAT


def held(parts: int, item: int, fused: bool) -> int:
    """Bytes per element that a group of parts holds: the running result and the next one."""
    if parts < 2:
        return item
    spare = 0 if fused or item == FLOAT else FLOAT  # a copy, unless the merge is one kernel
    return running(parts, item, fused) + item + spare


def extents(
    schedule: Sequence[Window], pattern: Pattern, item: int, fused: bool
) -> tuple[Extent, ...]:
    """The windows of each run of heads, as large as the bound allows, from those of whole runs.

    Heads are cut first, which costs nothing but calls. All per feature: head_dim and batch are on
    both sides.
    """
    n = pattern.seq_len
    allowed = budget(n * pattern.heads, item)
    found = []
    for window in schedule:
        needs = _needs(window, n, item, fused)
        heads = min(window.heads, int(allowed // max(need for need, _ in needs)))
        size = n
        if heads == 0:
            # not even one head fits: its positions are cut too
            heads = 1
            size = int(min(allowed / need * reach for need, reach in needs))
        if size >= n:
            found.append(Extent(heads, n))
        else:
            rate = max(group[0].piece.rate for group in window.groups)
            found.append(Extent(heads, whole_units(size, rate)))
    return tuple(found)


def _needs(window: Window, n: int, item: int, fused: bool) -> list[tuple[int, int]]:
    """Bytes per feature of one head beyond the output, and the positions they are held for."""
    if window.mixed:
        # the result of one call, and the running result over all positions where the output is
        # not itself in float32
        largest = max(_rows(group) for group in window.groups)
        running_result = 0 if item == FLOAT else n * FLOAT
        return [(largest * item + running_result, n)]
    return [
        (_rows(group) * held(depth(group), item, fused), _reach(group)) for group in window.groups
    ]


def _reach(group: Group) -> int:
    """Positions from the start of a group's segments to their end."""
    first, last = group[0].segments
    return (last - first) * group[0].piece.segment_length


def _rows(group: Group) -> int:
    """Rows of one head of a group."""
    (first, last), rows = group[0].segments, rows_of(group)
    return (last - first) * (rows[1] - rows[0])


def assigned(
    needs: Sequence[int], works: Sequence[int], allowed: float, most: int
) -> tuple[int, ...]:
    """The lane of each task, at most so many lanes, so that what the lanes hold at once is allowed.

    A lane holds what the largest of its tasks needs. Its tasks follow one another, so where there
    is no room for more lanes a task goes where the least work waits.
    """
    found = [0] * len(needs)
    lanes: list[float] = []  # the work that waits in each
    room = allowed
    # the largest first: a lane that holds its need has room for every later task
    for task in sorted(range(len(needs)), key=lambda task: -needs[task]):
        if not lanes or (len(lanes) < most and needs[task] <= room):
            lanes.append(0.0)
            room -= needs[task]
            found[task] = len(lanes) - 1
        else:
            found[task] = lanes.index(min(lanes))
        lanes[found[task]] += works[task]
    return tuple(found)
