"""The shipped fake: attempts run in this very process, one per poll, without isolation; for tests and debugging."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.executors.base import Event, Finished, PhaseChanged, SlotReady, Started
from orchestrator.record import Phase, TrialRecord
from orchestrator.trial import Attempt

OnPhase = Callable[[Phase], None]
RunAttempt = Callable[[Attempt, OnPhase], TrialRecord]


class InlineExecutor:
    """One slot, first in, first out; `poll` runs the next attempt to its end.

    Args:
        run: what runs an attempt; default `worker.run_attempt`. A trial that kills its process kills this one.
        environment: what the slot is said to be; default `environment.describe` of the first attempt's device.
    """

    def __init__(
        self, run: RunAttempt | None = None, environment: Mapping[str, Any] | None = None, device: str = "cpu"
    ) -> None:
        self.device = device
        self._run = run or _worker
        self._environment = environment
        self._queue: deque[Attempt] = deque()
        self._ready = False

    @property
    def slots(self) -> int:
        """Always one."""
        return 1

    def submit(self, attempt: Attempt) -> None:
        """Queue an attempt; it runs in a later poll."""
        self._queue.append(attempt)

    def poll(self, timeout_s: float) -> list[Event]:
        """Run the oldest queued attempt and tell all that happened to it; nothing queued: no events, at once."""
        if not self._queue:
            return []
        attempt = self._queue.popleft()
        events: list[Event] = self._announce(attempt)
        events.append(Started(attempt, 0))
        record = self._run(attempt, lambda phase: events.append(PhaseChanged(attempt, phase, 0)))
        events.append(Finished(attempt, record))
        return events

    def cancel_queued(self) -> list[Attempt]:
        """Empty the queue and return what was in it."""
        cancelled = list(self._queue)
        self._queue.clear()
        return cancelled

    def conclude(self) -> list[Event]:
        """Nothing is looked at here: this process would have to use the device."""
        return []

    def close(self) -> None:
        """Forget what is queued; nothing runs between polls."""
        self._queue.clear()

    def _announce(self, attempt: Attempt) -> list[Event]:
        if self._ready:
            return []
        self._ready = True
        return [SlotReady(0, self._describe(attempt))]

    def _describe(self, attempt: Attempt) -> Mapping[str, Any]:
        if self._environment is not None:
            return self._environment
        from orchestrator.environment import describe

        return describe(attempt.device, attempt.resources.gpu_memory_gib, attempt.resources.cpus)


def _worker(attempt: Attempt, on_phase: OnPhase) -> TrialRecord:
    from orchestrator.worker import run_attempt

    return run_attempt(attempt, on_phase)
