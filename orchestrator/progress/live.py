"""Progress on stderr while a sweep runs: a live display in a terminal, log lines elsewhere, or
nothing.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from datetime import datetime
from typing import Protocol, TextIO

from rich.console import Console, RenderableType
from rich.live import Live
from rich.status import Status
from rich.text import Text

from orchestrator.executors.base import Event, Finished
from orchestrator.formatting import counted, number, printable, roughly
from orchestrator.outcome import Outcome
from orchestrator.progress.gpus import GpuWatch
from orchestrator.progress.panel import panel
from orchestrator.progress.tally import Tally, cause_of_repeat, reason
from orchestrator.record import TrialRecord
from orchestrator.results.meta import SweepMeta

REFRESH_PER_SECOND = 1.0  # a frame costs a few milliseconds, and the cores belong to the trials
OPENING_PER_SECOND = 4.0
QUIET_EVERY_S = 60.0
AGAIN = {
    "contended": "other processes took its time: measured again at the end",
    "throttled": "the device was slowed down: measured again at the end",
}


class Progress(Protocol):
    """Whoever shows how a sweep gets on. All methods are called from one thread; none raises."""

    def opening(self, text: str) -> None:
        """What is waited for before the sweep begins; until `start` or `stop`."""
        ...

    def start(self, meta: SweepMeta, records: Sequence[TrialRecord]) -> None:
        """The sweep begins, or goes on from what its journal holds."""
        ...

    def event(self, event: Event) -> None:
        """Something happened to an attempt or a slot."""
        ...

    def note(self, text: str) -> None:
        """A line for the person at the terminal."""
        ...

    def stop(self) -> None:
        """The sweep ended, however; the terminal is as it was. A second call does nothing."""
        ...


class SilentProgress:
    """Shows nothing."""

    def opening(self, text: str) -> None:
        """Nothing."""

    def start(self, meta: SweepMeta, records: Sequence[TrialRecord]) -> None:
        """Nothing."""

    def event(self, event: Event) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""

    def stop(self) -> None:
        """Nothing."""


class PlainProgress:
    """One line per attempt that ended; quiet: those that did not end well, and where it stands once
    a minute.
    """

    def __init__(
        self, stream: TextIO | None = None, quiet: bool = False, tally: Tally | None = None
    ) -> None:
        self._stream = stream or sys.stderr
        self._quiet = quiet
        self._tally = tally or Tally()
        self._said_at = self._tally.clock()

    def opening(self, text: str) -> None:
        """A line; none if quiet."""
        if not self._quiet:
            self.note(text)

    def start(self, meta: SweepMeta, records: Sequence[TrialRecord]) -> None:
        """Say how much lies ahead."""
        self._tally.start(meta, records)
        done = f", {len(self._tally.done)} done before" if self._tally.done else ""
        most = "at most " if self._tally.bounded else ""
        self.note(
            f"{meta.name} ({meta.sweep_id}): {most}{counted(self._tally.total, 'attempt')}{done}"
        )

    def event(self, event: Event) -> None:
        """A line if it ended an attempt."""
        self._tally.event(event)
        if not isinstance(event, Finished) or event.record.reused_from:
            return
        if not self._quiet or event.record.outcome is not Outcome.OK:
            self.note(self._line(event))
        elif self._tally.clock() - self._said_at >= QUIET_EVERY_S:
            self.note(f"{self._place()}{self._left()}")

    def note(self, text: str) -> None:
        """The line, with the time before it."""
        self._said_at = self._tally.clock()
        print(f"{datetime.now():%H:%M:%S} {printable(text)}", file=self._stream, flush=True)

    def stop(self) -> None:
        """Say how it ended, once."""
        if self._tally.total:
            self.note(self._tally.summary())
            self._tally = Tally(self._tally.clock)

    def _line(self, event: Finished) -> str:
        what = f"{self._place()} {result(event.record)}  {self._tally.describe(event.attempt)}"
        why = reason(event.record)
        again = (
            f", {AGAIN.get(cause_of_repeat(event.record), 'tried again')}" if event.again else ""
        )
        return f"{what}{f': {why}' if why else ''}{again}{self._left()}"

    def _place(self) -> str:
        width = len(str(self._tally.total))
        return f"[{self._tally.measured:{width}}/{self._tally.total}]"

    def _left(self) -> str:
        left = self._tally.left_s()
        return f"  (about {roughly(left)} left)" if left else ""


class LiveProgress:
    """A display on a terminal, redrawn once a second: progress, slots, counts, last failures."""

    def __init__(self, console: Console | None = None, tally: Tally | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._tally = tally or Tally()
        self._lock = threading.Lock()
        self._live: Live | None = None
        self._gpus = GpuWatch()
        self._name = ""
        self._status: Status | None = None

    def opening(self, text: str) -> None:
        """A line that moves, and goes when the display opens."""
        self._end_opening()
        self._status = self._console.status(
            Text(printable(text)), refresh_per_second=OPENING_PER_SECOND
        )
        self._status.start()

    def start(self, meta: SweepMeta, records: Sequence[TrialRecord]) -> None:
        """Open the display."""
        self._end_opening()
        self._tally.start(meta, records)
        self._name = meta.name
        self._live = Live(
            console=self._console,
            get_renderable=self._frame,
            refresh_per_second=REFRESH_PER_SECOND,
            transient=True,
            redirect_stdout=False,  # stdout carries the result
        )
        self._live.start()

    def event(self, event: Event) -> None:
        """Shown with the next frame."""
        with self._lock:
            self._tally.event(event)

    def note(self, text: str) -> None:
        """The line, above the display."""
        self._console.print(printable(text), markup=False, highlight=False)

    def stop(self) -> None:
        """Close the display, and leave one line of it."""
        self._end_opening()
        if self._live is not None:
            self._live.stop()
            self._live = None
            self._gpus.close()
            self.note(f"{self._name}: {self._tally.summary()}")

    def _end_opening(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None

    def _frame(self) -> RenderableType:
        with self._lock:
            gpus = self._gpus.look(self._tally.environments)
            return panel(self._name, self._tally, gpus, *self._console.size)


def progress_for(quiet: bool = False, stream: TextIO | None = None) -> PlainProgress | LiveProgress:
    """A live display where `stream` (default: stderr) is a terminal that can move its cursor, else
    log lines.
    """
    stream = stream or sys.stderr
    console = Console(file=stream)
    if quiet or not console.is_terminal or console.is_dumb_terminal:
        return PlainProgress(stream, quiet)
    return LiveProgress(console)


def result(record: TrialRecord) -> str:
    """`✓ 1.16 ms`, `✓ noisy 1.16 ms`, `✗ oom`."""
    if record.outcome is not Outcome.OK:
        return f"✗ {record.outcome}"
    flags = f" {', '.join(record.flags)}" if record.flags else ""
    return f"✓{flags} {number((record.metrics or {}).get('latency_ms'))} ms"
