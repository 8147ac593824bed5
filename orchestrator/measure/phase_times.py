"""Measures how long an attempt spends in each phase, as its supervisor sees them begin."""

from __future__ import annotations

import time
from collections.abc import Callable

START, END = "start", "end"  # before the first phase; from the answer to the last exit


class PhaseTimes:
    """Adds up the seconds of each phase; `start` and `end` are the time outside of all phases.

    Make it when the attempt is handed to the isolator: time runs from there, as that of the phase
    `first`.
    """

    def __init__(self, first: str = START, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._phase = first
        self._since = now()
        self._seconds: dict[str, float] = {}

    def enter(self, phase: str) -> None:
        """Begin a phase; `done` ends the last one."""
        moment = self._now()
        so_far = self._seconds.get(self._phase, 0.0)
        self._seconds[self._phase] = so_far + moment - self._since
        self._phase = END if phase == "done" else phase
        self._since = moment

    def seconds(self) -> dict[str, float]:
        """Phase -> seconds, in the order of the phases, the last one until now."""
        self.enter(self._phase)
        return {name: round(value, 4) for name, value in self._seconds.items()}
