"""Runs independent calls side by side, so that one fills the half-empty last wave of another."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache

import torch

LANES = 4  # streams; more calls take turns


class Lanes:
    """Streams that start after what the current stream holds so far; it waits for them at `join`.

    Memory that a call takes on its lane may be used on the current stream after the join and
    returns to the lane's own
    pool, whose next use is after a next start: nothing else need be recorded.
    """

    def __init__(self, device: torch.device) -> None:
        self._main = torch.cuda.current_stream(device)
        self._streams = _streams(device)
        self._used: list[torch.cuda.Stream] = []
        self._next = 0

    def lane(self, number: int | None = None) -> AbstractContextManager[object]:
        """The lane of that number (None: the next one), as the current stream of a block."""
        if number is None:
            number = self._next
            self._next += 1
        stream = self._streams[number % LANES]
        if stream not in self._used:
            stream.wait_stream(self._main)
            self._used.append(stream)
        return torch.cuda.stream(stream)

    def join(self) -> None:
        """Let the current stream wait for all lanes."""
        for stream in self._used:
            self._main.wait_stream(stream)


class OneLane:
    """No side streams: calls follow one another."""

    def lane(self, _number: int | None = None) -> AbstractContextManager[object]:
        """The current stream."""
        return nullcontext()


@contextmanager
def lanes(device: torch.device, wanted: bool) -> Iterator[Lanes | OneLane]:
    """Lanes for the block's calls, joined when it ends."""
    if not wanted:
        yield OneLane()
        return
    found = Lanes(device)
    try:
        yield found
    finally:
        found.join()


@cache
def _streams(device: torch.device) -> tuple[torch.cuda.Stream, ...]:
    return tuple(torch.cuda.Stream(device) for _ in range(LANES))  # type: ignore[no-untyped-call]
