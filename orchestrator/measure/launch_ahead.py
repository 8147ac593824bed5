"""How far ahead of its device a host is kept, so that a block of launches is timed without the
host's gaps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

LEAST_S = 50e-6
FIRST_S = 200e-6
MOST_S = 0.1  # more than launching any chunk should take; the device does nothing else meanwhile
TRIES = 4


class Timed(NamedTuple):
    """What one attempt at a part of a block gave.

    Attributes:
        seconds: of device time.
        host_s: what the host took to launch it.
        kept: whether the device still waited when all was launched.
    """

    seconds: float
    host_s: float
    kept: bool


@dataclass
class LaunchAhead:
    """Learns how long a device must wait before a part of a block starts, and how many calls a part
    may have.

    Calls that wait for the device themselves (a value read, a synchronisation) cannot be launched
    ahead of it, however long it waits. Once a single call has shown that, blocks are timed whole
    and without a head start.

    Attributes:
        max_calls: the most calls of a part.
        seconds: the head start of the next part.
        lost: whether calls cannot be launched ahead of the device.
    """

    max_calls: int
    seconds: float = FIRST_S
    lost: bool = False
    _calls: int = field(init=False)

    def __post_init__(self) -> None:
        self._calls = self.max_calls

    def time(self, block: Sequence[Any], attempt: Callable[[Sequence[Any], float], Timed]) -> float:
        """Seconds of device time that a block takes by `attempt(part, head start in seconds)`."""
        seconds, done = 0.0, 0
        while done < len(block):
            part = block[done:] if self.lost else block[done : done + self._calls]
            timed = attempt(part, 0.0).seconds if self.lost else self._ahead(part, attempt)
            if timed is not None:
                seconds += timed
                done += len(part)
        return seconds

    def _ahead(
        self, part: Sequence[Any], attempt: Callable[[Sequence[Any], float], Timed]
    ) -> float | None:
        """Seconds of device time, or None when smaller parts, or none with a head start, are to be
        tried.
        """
        for _ in range(TRIES):
            timed = attempt(part, self.seconds)
            # shrink slowly, so that one hiccup of the host does not lengthen every later block
            if timed.kept:
                self.seconds = min(MOST_S, max(0.9 * self.seconds, 1.5 * timed.host_s + LEAST_S))
                return timed.seconds
            self.seconds = min(MOST_S, max(2 * self.seconds, 1.5 * timed.host_s))
        if len(part) > 1:
            self._calls, self.seconds = -(-len(part) // 4), self.seconds / 16
        else:
            self.lost = True
        return None
