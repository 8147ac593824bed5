"""The shipped fake: runs attempts in this process, one per poll, for tests and debugging."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from orchestrator.attempt_result import AttemptResult
from orchestrator.executors.base import Event, Finished, PhaseChanged, SlotReady, Started
from orchestrator.outcome import Phase
from orchestrator.record import TrialRecord
from orchestrator.trial import Attempt, Resources

OnPhase = Callable[[Phase], None]
RunAttempt = Callable[[Attempt, OnPhase], AttemptResult | TrialRecord]


class InlineExecutor:
    """One slot, first in, first out; `poll` runs the next attempt to its end.

    Args:
        run: what runs an attempt; default `worker.run_attempt`. It may return a record alone: of a
            paired comparison, both trials ended so. A trial that kills its process kills this one.
        environment: the slot's description; default `environment.describe` of the device.
    """

    def __init__(
        self,
        run: RunAttempt | None = None,
        environment: Mapping[str, Any] | None = None,
        device: str = "cpu",
    ) -> None:
        self.device = device
        self._run = run or _worker
        self._environment = environment
        self._queue: deque[Attempt] = deque()
        self._ready = False

    @property
    def accelerators(self) -> Sequence[str]:
        """None: it does not tell models apart."""
        return ()

    @property
    def slots(self) -> int:
        """Always one."""
        return 1

    def submit(self, attempt: Attempt) -> None:
        """Queue an attempt; it runs in a later poll."""
        self._queue.append(attempt)

    def poll(self, timeout_s: float) -> list[Event]:
        """Run the oldest queued attempt and report its events; without one return at once.

        The first poll announces the slot, whether or not anything is queued: who goes on with a
            sweep asks first.
        """
        events = self._announced()
        if not self._queue:
            return events
        attempt = self._queue.popleft()
        events.append(Started(attempt, 0))
        result = self._run(attempt, lambda phase: events.append(PhaseChanged(attempt, phase, 0)))
        if isinstance(result, TrialRecord):
            result = AttemptResult.of_end(attempt, result)
        events.append(Finished.of(attempt, result))
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
        self._ready = True
        self._queue.clear()

    def _announced(self) -> list[Event]:
        if self._ready:
            return []
        self._ready = True
        return [SlotReady(0, self._described())]

    def _described(self) -> Mapping[str, Any]:
        if self._environment is not None:
            return self._environment
        from orchestrator.machine.environment import describe

        resources = Resources()
        if self._queue:
            resources = self._queue[0].resources
        return describe(self.device, resources.gpu_memory_gib, resources.cpus)


def _worker(attempt: Attempt, on_phase: OnPhase) -> AttemptResult:
    if attempt.screened:
        from orchestrator.worker.screening import screen_here

        return screen_here(attempt, on_phase)
    from orchestrator.worker.run_attempt import run_attempt

    return run_attempt(attempt, on_phase)
