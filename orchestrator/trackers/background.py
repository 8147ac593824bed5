"""Runs a tracker on its own thread: one that is down or slow neither stops nor slows the sweep."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from orchestrator.results.meta import SweepMeta, Tracked
from orchestrator.results.results import Results
from orchestrator.results.rows import Row
from orchestrator.trackers.base import RejectedError, Status, Tracker, TrackingError

NICENESS = 10
# Seconds that the last reports have when a sweep is over.
TRACKING_FLUSH_S = 20.0
INTERRUPTED_FLUSH_S = 2.0  # whoever interrupts waits for it
FLUSH_TRIES = 3
FLUSH_WAIT_S = 0.2  # between these tries: while somebody waits, a server gets no long pause
STALLED_S = 8.0  # a call that takes longer is taken to hang
LOOK_S = 0.1
CLOSE_WAIT_S = 0.5
MAX_REASON = 300


@dataclass(frozen=True)
class _Job:
    """One task of the tracker: how it returns to the queue, and whether others take as long."""

    carry_out: Callable[[Tracker], None]
    put_back: Callable[[], None]
    typical: bool = False


class BackgroundTracker:
    """A Tracker whose calls never wait: each leaves its work to the thread and returns at once.

    The thread makes the tracker itself (importing a tracking library takes seconds), tries again
    with back-off what raised, and keeps only the latest row of a trial while it is behind. It runs
    at low priority: what is measured on the same cores comes first.

    Args:
        make: makes the tracker; called on the thread, and again until it succeeds.
        note: told once, from any thread, that tracking fell behind and what mends it.
        target: what `sync` is to be given; None: the sweep's id.
        first_wait_s, longest_wait_s: seconds between tries; each wait is twice the one before.
    """

    def __init__(
        self,
        make: Callable[[], Tracker],
        note: Callable[[str], None],
        *,
        target: str | None = None,
        first_wait_s: float = 1.0,
        longest_wait_s: float = 60.0,
    ) -> None:
        self._make = make
        self._note = note
        self._target = target
        self._waits = (first_wait_s, longest_wait_s)
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._tracker: Tracker | None = None
        self._meta: SweepMeta | None = None
        self._rows: dict[str, Row] = {}
        self._end: tuple[Status, Results] | None = None
        self._busy = False
        self._called_at: float | None = None
        self._call_s: float | None = None
        self._failures = 0
        self._refused = 0
        self._noted = False
        self._flushing = False
        self._closing = False

    def start(self, meta: SweepMeta) -> None:
        """Start the thread, and on it the tracker; on a second call the sweep is opened again."""
        with self._changed:
            self._meta = meta
            self._target = self._target or meta.sweep_id
            self._changed.notify_all()
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="tracking", daemon=True)
            self._thread.start()

    def log(self, row: Row) -> None:
        """Queue a row, in place of an earlier one of the same trial that still waits."""
        with self._changed:
            self._rows[row.trial_id] = row
            self._changed.notify_all()

    def finish(self, status: Status, results: Results) -> None:
        """Queue the end of the sweep, behind every row."""
        with self._changed:
            self._end = (status, results)
            self._changed.notify_all()

    def ready(self, timeout_s: float) -> bool:
        """Wait until the tracker is open or failed once: its start would disturb a measurement."""
        with self._changed:
            return self._changed.wait_for(lambda: self._idle or self._failures > 0, timeout_s)

    def flush(
        self,
        timeout_s: float,
        hurried_s: float | None = None,
        is_hurried: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Wait until everything queued was taken; give up early where that is hopeless.

        It is when a few more tries fail, or when the tracker is too slow to be done in time: what
        waits would take longer at its pace so far, or one call has not returned for STALLED_S.

        Args:
            timeout_s: the longest to wait.
            hurried_s: the longest once `is_hurried` says that somebody waits for the end; None: the
                same.
            is_hurried: asked several times a second.

        Returns:
            Whether tracking is complete. If not, `note` was told, now or before.
        """
        begun = time.monotonic()
        with self._changed:
            self._flushing, self._failures = True, 0
            self._changed.notify_all()
            while not (self._idle or self._is_hopeless(begun + timeout_s)):
                limit_s = timeout_s
                if hurried_s is not None and is_hurried():
                    limit_s = hurried_s
                left_s = begun + limit_s - time.monotonic()
                if left_s <= 0:
                    break
                self._changed.wait(min(left_s, LOOK_S))
            self._flushing = False
            complete = self._idle and not self._refused
        if not complete:
            self._tell("tracking is behind: not every run of the sweep is written")
        return complete

    def _is_hopeless(self, deadline: float) -> bool:
        if self._failures >= FLUSH_TRIES:
            return True
        now = time.monotonic()
        if self._called_at is not None and now - self._called_at > STALLED_S:
            return True
        waiting = len(self._rows) + (self._end is not None)
        return self._call_s is not None and now + self._call_s * waiting > deadline

    @property
    def tracked(self) -> Tracked | None:
        """Where a person looks at this sweep's runs; None: nowhere, or not yet."""
        with self._changed:
            if self._tracker is None or self._meta is not None:
                return None
            return self._tracker.tracked

    def close(self) -> None:
        """End the thread. A call that hangs in it is left behind and ends with the process."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(CLOSE_WAIT_S)

    @property
    def _idle(self) -> bool:
        return not (self._busy or self._waiting)

    @property
    def _waiting(self) -> bool:
        return bool(self._meta or self._rows or self._end)

    def _work(self) -> None:
        _lower_priority()
        while (job := self._next()) is not None:
            try:
                if self._tracker is None:
                    self._tracker = self._make()
                self._called_at = time.monotonic()
                job.carry_out(self._tracker)
            except RejectedError as error:
                self._done(job, refused=error)
            except Exception as error:  # noqa: BLE001 - the sweep goes on whatever it raises
                self._failed(job, error)
            else:
                self._done(job)
        if self._tracker is not None:
            self._tracker.close()

    def _next(self) -> _Job | None:
        """Wait for something to do and take it off the queue; None when closing."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing or self._waiting)
            if self._closing:
                return None
            self._busy = True
            if self._meta is not None:
                return self._opening(self._meta)
            if self._rows:
                oldest = next(iter(self._rows))
                return self._logging(self._rows.pop(oldest))
            if self._end is not None:
                return self._finishing(*self._end)
            return None

    def _opening(self, meta: SweepMeta) -> _Job:
        def carry_out(tracker: Tracker) -> None:
            try:
                tracker.start(meta)
            except RejectedError as error:  # without a start nothing works: try again
                raise TrackingError(str(error)) from error

        def put_back() -> None:
            self._meta = self._meta or meta

        self._meta = None
        return _Job(carry_out, put_back)

    def _logging(self, row: Row) -> _Job:
        def put_back() -> None:  # a newer row of the trial that came in meanwhile stays
            self._rows = {row.trial_id: row} | self._rows

        return _Job(lambda tracker: tracker.log(row), put_back, typical=True)

    def _finishing(self, status: Status, results: Results) -> _Job:
        def put_back() -> None:
            self._end = self._end or (status, results)

        self._end = None
        return _Job(lambda tracker: tracker.finish(status, results), put_back)

    def _done(self, job: _Job, refused: RejectedError | None = None) -> None:
        with self._changed:
            if job.typical and self._called_at is not None:
                # seconds per row: the mean of the last few, the older the less
                took_s = time.monotonic() - self._called_at
                self._call_s = took_s if self._call_s is None else (self._call_s + took_s) / 2
            self._called_at = None
            self._busy, self._failures = False, 0
            self._refused += refused is not None
            self._changed.notify_all()
        if refused is not None:
            self._tell(f"tracking refused a run: {_reason(refused)}")

    def _failed(self, job: _Job, error: Exception) -> None:
        with self._changed:
            job.put_back()
            self._busy, self._called_at = False, None
            self._failures += 1
            self._changed.notify_all()
        self._tell(f"tracking failed: {_reason(error)}")
        with self._changed:
            flushing = self._flushing
            first_s, longest_s = self._waits
            if flushing:
                first_s = FLUSH_WAIT_S
            doublings = min(self._failures - 1, 32)  # 2.0 ** 1024 overflows
            wait_s = min(longest_s, first_s * 2.0**doublings)
            # a flush that begins meanwhile does not sit out a long wait
            self._changed.wait_for(lambda: self._closing or self._flushing > flushing, wait_s)

    def _tell(self, what: str) -> None:
        with self._changed:
            told, self._noted = self._noted, True
        if not told:
            self._note(
                f"{what}. The sweep goes on; "
                f"what is missing is added by: orchestrator sync {self._target}"
            )


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    if len(text) <= MAX_REASON:
        return text
    return f"{text[:MAX_REASON]}…"


def _lower_priority() -> None:
    """Linux keeps a priority per thread; elsewhere the thread stays as it is."""
    with suppress(AttributeError, OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
