"""Sweeps of the toy matmul that were run, or as if they had been: real directories under
mlruns/sweeps of the current folder, made without a worker.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrator import api
from orchestrator.driver.reuse import environments_here
from orchestrator.executors.inline import InlineExecutor
from orchestrator.outcome import Outcome, Phase
from orchestrator.plan.sweep import Sweep
from orchestrator.record import ErrorInfo, TrialRecord, record_of
from orchestrator.trackers.in_memory import MemoryTracker
from orchestrator.trial import Attempt
from tests.support.sweeps import TOYS

TEXT = """\
name: toy
workload: ./matmul.py:WORKLOAD
implementations: [./matmul.py:right, "./matmul.py:raises"]
axes: {n: [16, 32]}
"""
BEGAN = datetime(2026, 11, 1, 9, 30, tzinfo=UTC)
Latency = Callable[[Attempt], float | None]


def prepare(folder: Path) -> None:
    """A sweep file and a copy of what it names."""
    (folder / "matmul.py").write_text((TOYS / "matmul.py").read_text())
    (folder / "toy.yaml").write_text(TEXT)


class Store:
    """Sweeps one after the other, a day apart, in the current folder.

    Attributes:
        made: attempts that were really made, of every sweep.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[Attempt] = []
        self.environment: dict[str, Any] | None = None
        self.card: str | None = None
        self._days = 0
        self._patch = monkeypatch
        self._patch.setattr(api.sweep_directory, "new_sweep_id", lambda _now: self.sweep_id)

    @property
    def sweep_id(self) -> str:
        """Of the newest sweep."""
        return f"202611{self._days:02}_093000_{self._days:04x}"

    def sweep(
        self,
        *overrides: str,
        latency: Latency = lambda attempt: float(attempt.trial.params["n"]),
        flags: tuple[str, ...] = (),
        device: Mapping[str, Any] | None = None,
        metrics: Mapping[str, float] | None = None,
        **asked: Any,
    ) -> api.Results:
        """One more sweep, by `run` with these overrides.

        Args:
            overrides: of the sweep file.
            latency: in ms, of each attempt; None: it fails, as `raises` does.
            flags: of every row that is ok.
            device: facts that must match, in place of this machine's.
            metrics: of every row that is ok, besides its own.
            asked: of `api.run`.
        """
        self._days += 1
        day = BEGAN + timedelta(days=self._days - 1)
        sweep = Sweep.load("toy.yaml", ["implementations=[./matmul.py:right]", *overrides])
        environment = self.environment or environments_here(sweep, "cpu")[0]
        if device is not None:
            environment = {**environment, "match": {**environment["match"], **device}}

        def run(attempt: Attempt, _on_phase: object) -> TrialRecord:
            self.made.append(attempt)
            return record(attempt, environment, latency(attempt), flags, day, self.card, metrics)

        return api.run(
            sweep,
            executor=lambda _: InlineExecutor(run, environment),
            tracker=MemoryTracker,
            **asked,
        )


def record(
    attempt: Attempt,
    environment: Mapping[str, Any],
    latency_ms: float | None,
    flags: tuple[str, ...],
    day: datetime,
    card: str | None = None,
    more: Mapping[str, float] | None = None,
) -> TrialRecord:
    """The record of an attempt: nine repetitions within 1 %."""
    fields: dict[str, Any] = {"finished_at": day.isoformat(), "card": card}
    if latency_ms is None or attempt.trial.implementation.endswith("raises"):
        error = ErrorInfo.of("RuntimeError", "the tiles do not fit")
        fields |= {"error": error, "environment": dict(environment)}
        return record_of(
            attempt, Outcome.FAILED, Phase.BUILD, day.isoformat(), environment["match"], **fields
        )
    metrics = {
        "latency_ms": latency_ms,
        "latency_ci_low_ms": 0.99 * latency_ms,
        "latency_ci_high_ms": 1.01 * latency_ms,
        "peak_memory_mib": 1.0,
        "relative_error": 1e-7,
        **(more or {}),
    }
    return record_of(
        attempt,
        Outcome.OK,
        Phase.DONE,
        day.isoformat(),
        environment["match"],
        metrics=metrics,
        values_ms=tuple(latency_ms * (0.98 + 0.005 * step) for step in range(9)),
        flags=flags,
        environment=dict(environment),
        **fields,
    )
