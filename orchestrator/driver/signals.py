"""SIGINT and SIGTERM during a sweep: noted, and acted on between two records."""

from __future__ import annotations

import signal
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any

HANDLED = (signal.SIGINT, signal.SIGTERM)


class Signals:
    """While entered, the first signal is noted and nothing else happens; a second one has its old
    effect.

    Raising at once would end up inside an import, a write or a library's callback, and be lost or
    do harm there. May be entered within itself; the outermost exit gives the signals back.

    Attributes:
        received: the signal that was noted, or None.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Any] = {}
        self._depth = 0

    def __enter__(self) -> Signals:
        self._depth += 1
        self.install()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._depth -= 1
        if self._depth == 0:
            self._give_back()

    def install(self) -> None:
        """Take the signals, again if somebody else (an executor's start) took them meanwhile."""
        if self.received is not None:
            return
        for number in HANDLED:
            # not in the main thread: then signals are the caller's business
            with suppress(ValueError):
                before = signal.signal(number, self._note)
                self._before.setdefault(number, before)

    def have_come(self) -> bool:
        """Whether a signal has come. Asked while waiting, it also takes the signals again.

        Ray's shutdown gives SIGTERM its default effect, which would end this process at once.
        """
        self.install()
        return self.received is not None

    def _give_back(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.received = number
        self._give_back()
