"""An executor for whole sweeps without Ray and torch: real processes, real logs, a worker that only
calls.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from orchestrator.executors.base import Event, Finished
from orchestrator.executors.inline import InlineExecutor
from orchestrator.isolation.isolator import Isolator
from orchestrator.record import fingerprint

TOYS = Path(__file__).parents[1] / "integration" / "toys"


class Executed(InlineExecutor):
    """Trials in processes, their logs told, as the real executor does."""

    def __init__(self, isolator: Isolator) -> None:
        super().__init__(self._attempt, {"match": {}})
        self._isolator = isolator
        self._logs: dict[str, bytes] = {}

    def _attempt(self, given, on_phase):
        done = self._isolator.run(given, on_phase)
        self._logs[given.trial.trial_id] = done.log
        return done.record.model_copy(update={"fingerprint": fingerprint(given, {})})

    def poll(self, timeout_s: float) -> list[Event]:
        events = super().poll(timeout_s)
        return [
            replace(event, log=self._logs[event.record.trial_id])
            if isinstance(event, Finished)
            else event
            for event in events
        ]
