"""Turns a schedule's parts into calls on strided tensors: sizes, strides, offsets, per layout."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import torch

from .schedule import Group, Part, Window, depth, rows_of

# Of output per call: a larger call fills any device, so that splitting it by head costs nothing.
CALL_BYTES = 64 * 2**20

Strides = tuple[int, ...]
Span = tuple[int, int]


@dataclass(frozen=True)
class Strided:
    """A view of a tensor: size, stride, and offset from the tensor's start, in elements."""

    size: tuple[int, ...]
    stride: Strides
    offset: int

    @property
    def elements(self) -> int:
        """How many it has."""
        return math.prod(self.size)

    def of(self, t: torch.Tensor) -> torch.Tensor:
        """The view; nothing is copied."""
        return t.as_strided(self.size, self.stride, t.storage_offset() + self.offset)


@dataclass(frozen=True)
class Cut:
    """The (entries, segments, heads) of a call; None for the first two: all, as one dimension."""

    entry: int | None
    segment: int | None
    heads: Span


@dataclass(frozen=True)
class Call:
    """One attention call: views (B, g, m, d) of what it reads and writes.

    Attributes:
        q, k, v: of the inputs in their own layout.
        rows: of a contiguous tensor like q (output, its gradient, dq).
        keys: of a contiguous tensor like k (dk, dv).
        local: of a contiguous tensor that holds the window alone.
        sums: (B, g, m) of a contiguous (b, n, H) tensor.
        part: what it is a call of.
        cut: which share of it.
    """

    q: Strided
    k: Strided
    v: Strided
    rows: Strided
    keys: Strided
    local: Strided
    sums: Strided
    part: Part
    cut: Cut

    @property
    def causal(self) -> bool:
        """Rows and keys are the same and attend only backward."""
        return self.part.causal

    @property
    def whole(self) -> bool:
        """Whether it takes all rows of its segments."""
        return self.part.rows == (0, self.part.piece.selected)


@dataclass(frozen=True)
class Task:
    """The calls of a group of parts, in order, on one share of entries, segments and heads.

    Attributes:
        place: a call that takes all rows of the calls at once: where their result goes, and how it
            comes back.
    """

    calls: tuple[Call, ...]
    place: Call

    @cached_property
    def alone(self) -> Call | None:
        """The call that does everything, if one does."""
        return self.calls[0] if len(self.calls) == 1 else None

    @cached_property
    def depth(self) -> int:
        """How many calls a row takes at most."""
        return depth(tuple(call.part for call in self.calls))

    @property
    def work(self) -> int:
        """Pairs of rows and keys."""
        pairs = 0
        for call in self.calls:
            outer, heads, rows = call.q.size[:3]
            pairs += outer * heads * rows * call.k.size[2]
        return pairs

    def inner(self, call: Call) -> slice:
        """Which rows of the place a call takes."""
        first = self.place.part.rows[0]
        return slice(call.part.rows[0] - first, call.part.rows[1] - first)


def tasks_of(
    window: Window, shape: tuple[int, ...], strides: tuple[Strides, Strides, Strides], item: int
) -> tuple[Task, ...]:
    """The calls of a window for inputs (b, n, H, d) with these strides and bytes per element."""
    tasks: list[Task] = []
    for group in window.groups:
        tasks.extend(_tasks(group, window, shape, strides, item))
    return tuple(tasks)


def _tasks(
    group: Group,
    window: Window,
    shape: tuple[int, ...],
    strides: tuple[Strides, Strides, Strides],
    item: int,
) -> Iterator[Task]:
    """A group's, one for each share that a call can take."""
    views = [_views(part, window, shape, strides) for part in group]
    whole = replace(group[0], rows=rows_of(group), begins=True, ends=True)
    place = views[0] if whole == group[0] else _views(whole, window, shape, strides)
    for cut in _cuts(place, item):
        calls = tuple(_call(part, near, cut) for part, near in zip(group, views, strict=True))
        yield Task(calls, calls[0] if place is views[0] else _call(whole, place, cut))


def _call(part: Part, views: list[Strided], cut: Cut) -> Call:
    q, k, v, rows, keys, local, sums = (_four(view, cut) for view in views)
    sums = Strided(sums.size[:3], sums.stride[:3], sums.offset)
    return Call(q, k, v, rows, keys, local, sums, part, cut)


def _views(
    part: Part, window: Window, shape: tuple[int, ...], strides: tuple[Strides, Strides, Strides]
) -> list[Strided]:
    """What a call of a part reads and writes, before it is cut: (b, J, m, g, d) each."""
    plain, single = _contiguous(shape), (*shape[:3], 1)
    inner = _contiguous((shape[0], window.last - window.first, window.heads, shape[3]))
    return [
        _five(part, shape, strides[0], part.rows),
        _five(part, shape, strides[1], part.keys),
        _five(part, shape, strides[2], part.keys),
        _five(part, shape, plain, part.rows),
        _five(part, shape, plain, part.keys),
        _five(part, shape, inner, part.rows, window.origin),
        _five(part, single, _contiguous(single), part.rows),
    ]


def _five(
    part: Part, shape: tuple[int, ...], strides: Strides, span: Span, origin: Span = (0, 0)
) -> Strided:
    """(b, J, m, g, d): a span of the part's selected positions; the tensor starts at origin."""
    piece, (first, last) = part.piece, part.segments
    start = first * piece.segment_length + piece.offset + span[0] * piece.rate - origin[0]
    size = (shape[0], last - first, span[1] - span[0], piece.heads, shape[3])
    stride = (
        strides[0],
        piece.segment_length * strides[1],
        piece.rate * strides[1],
        strides[2],
        strides[3],
    )
    return Strided(size, stride, start * strides[1] + (piece.first_head - origin[1]) * strides[2])


def _cuts(views: list[Strided], item: int) -> Iterator[Cut]:
    """Cuts by which entries and segments are one dimension without a copy, and heads fit a call."""
    batch, segments, rows, heads, width = views[0].size
    outer: list[tuple[int | None, int | None]] = [(None, None)]
    if min(batch, segments) > 1 and any(
        view.stride[0] != segments * view.stride[1] for view in views
    ):
        if batch <= segments:
            outer = [(entry, None) for entry in range(batch)]
        else:
            outer = [(None, segment) for segment in range(segments)]
    each = max(1, CALL_BYTES // (batch * segments * rows * width * item))
    for first in range(0, heads, each):
        for entry, segment in outer:
            yield Cut(entry, segment, (first, min(first + each, heads)))


def _four(view: Strided, cut: Cut) -> Strided:
    """(b, J, m, g, d) -> (B, g, m, d) of a cut."""
    (batch, segments, rows, _, width), stride = view.size, view.stride
    offset = view.offset + cut.heads[0] * stride[3]
    if cut.entry is not None:
        batch, offset = 1, offset + cut.entry * stride[0]
    if cut.segment is not None:
        segments, offset = 1, offset + cut.segment * stride[1]
    outer = stride[0] if segments == 1 else stride[1]
    size = (batch * segments, cut.heads[1] - cut.heads[0], rows, width)
    return Strided(size, (outer, stride[3], stride[2], stride[4]), offset)


def _contiguous(shape: tuple[int, ...]) -> Strides:
    strides = [1]
    for size in reversed(shape[1:]):
        strides.insert(0, strides[0] * size)
    return tuple(strides)
