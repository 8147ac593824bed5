"""Watches for interference (contention, throttling) and reads energy while an attempt is timed.

It runs in the supervisor, because the trial cannot observe this itself. The monitor samples while
the attempt warms up and is timed, then adds flags, notes and energy to the record. What the machine
does not report raises no flag.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from orchestrator.attempt_result import AttemptResult
from orchestrator.measure.energy import EnergyWindow
from orchestrator.outcome import Outcome, Phase
from orchestrator.record import TrialRecord

EVERY_S = 0.05
ENERGY_EVERY_S = 0.005  # finds when a counter is updated that is updated every tenth of a second
SHORTEST_S = 0.1  # of sampled time; less is not judged
SAMPLED = (Phase.WARM_UP, Phase.MEASURE)


@dataclass(frozen=True)
class Findings:
    """Flags, and notes that explain them."""

    flags: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class Sampler(Protocol):
    """Samples the state of the machine, and judges the samples."""

    def sample(self, at_s: float) -> None:
        """Take one sample; `at_s` is time.monotonic()."""
        ...

    def sample_energy(self) -> None:
        """Read the energy counter once, if there is one."""
        ...

    def findings(self) -> Findings:
        """Flags and notes derived from the samples."""
        ...

    def joules(self, start_s: float, end_s: float) -> float | None:
        """Energy of the device between two moments of time.monotonic(); None: not known."""
        ...


class InterferenceMonitor:
    """Runs `sampler` while the attempt warms up and is measured; a Watch (see isolation/monitor).

    Energy is measured during warm-up: there its counter is read much more often.
    """

    kind = "interference"

    def __init__(self, sampler: Sampler, now: Callable[[], float] = time.monotonic) -> None:
        self.next_look = 0.0
        self._next_sample = 0.0
        self._sampler = sampler
        self._now = now

    def look(self, phase: Phase) -> None:
        """Sample, if the attempt is being measured."""
        at_s = self._now()
        self.next_look = at_s + EVERY_S
        if phase is Phase.WARM_UP:
            self._sampler.sample_energy()
            self.next_look = at_s + ENERGY_EVERY_S
        if phase in SAMPLED and at_s >= self._next_sample:
            self._sampler.sample(at_s)
            self._next_sample = at_s + EVERY_S

    def close(self) -> None:
        """Does nothing: the sampler stays open for `applied`."""

    def applied(self, result: AttemptResult) -> AttemptResult:
        """The result with flags and notes on each record that is ok, and with energy per call."""
        if all(record.outcome is not Outcome.OK for record in result.records):
            return result
        found = self._sampler.findings()

        def with_findings(record: TrialRecord) -> TrialRecord:
            if record.outcome is not Outcome.OK:
                return record
            flags = tuple(dict.fromkeys((*record.flags, *found.flags)))
            notes = (*record.notes, *found.notes)
            return record.model_copy(update={"flags": flags, "notes": notes})

        result = result.changed(with_findings)
        if result.energy is None:
            return result
        metrics = {**(result.record.metrics or {}), **self._energy(result.energy)}
        record = result.record.model_copy(update={"metrics": metrics})
        return result.model_copy(update={"record": record})

    def _energy(self, window: EnergyWindow) -> dict[str, float | None]:
        """Joules per call of the whole device, idle share included; millijoules per token."""
        joules = self._sampler.joules(window.start_s, window.end_s)
        if joules is None:
            return {"joules_per_call": None, "energy_mj_per_token": None}
        per_call = joules / window.calls
        per_token = 1000 * per_call / window.tokens if window.tokens else None
        return {"joules_per_call": per_call, "energy_mj_per_token": per_token}
