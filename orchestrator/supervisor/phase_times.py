"""How long an attempt spent in each of its phases, as its supervisor saw them begin."""

from __future__ import annotations

import time
from collections.abc import Callable

START, END = "start", "end"  # until the first phase is reached; and from the answer to the last process gone


class PhaseTimes:
    """Adds up the seconds of each phase; `start` and `end` stand for what lies outside of all.

    Made when the attempt is handed to the isolator.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._phase = START
        self._since = now()
        self._seconds: dict[str, float] = {}

    def enter(self, phase: str) -> None:
        """A phase begins; `done` is the end of all."""
        moment = self._now()
        so_far = self._seconds.get(self._phase, 0.0)
        self._seconds[self._phase] = so_far + moment - self._since
        self._phase = END if phase == "done" else phase
        self._since = moment

    def seconds(self) -> dict[str, float]:
        """Seconds by phase in the order in which they were reached, the last one until now."""
        self.enter(self._phase)
        return {name: round(value, 4) for name, value in self._seconds.items()}
