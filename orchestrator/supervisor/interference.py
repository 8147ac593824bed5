"""What disturbed the machine while an attempt was timed, seen from the supervisor.

The attempt's own process could not know. The monitor samples while the attempt warms up and is
timed, and adds flags, notes and the energy to the record afterwards. Where the machine does not
tell, there is no doubt: flags are to be right.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from orchestrator.duel_record import survivor
from orchestrator.measure.energy import ENERGY
from orchestrator.outcome import Outcome, Phase
from orchestrator.record import TrialRecord

EVERY_S = 0.05
ENERGY_EVERY_S = 0.005  # finds the moments at which a counter of a tenth of a second is renewed
SHORTEST_S = 0.1  # of time that was sampled; less says nothing
SAMPLED = (Phase.WARM_UP, Phase.MEASURE)


@dataclass(frozen=True)
class Findings:
    """Flags, and notes that say what was seen."""

    flags: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class Sampler(Protocol):
    """Reads the state of the machine and judges what it read."""

    def sample(self, at_s: float) -> None:
        """Read everything once; `at_s` is time.monotonic()."""
        ...

    def sample_energy(self) -> None:
        """Read the energy counter once, where there is one."""
        ...

    def findings(self) -> Findings:
        """What the samples amount to."""
        ...

    def joules(self, start_s: float, end_s: float) -> float | None:
        """Energy that the device took between two moments of time.monotonic(); None where it does not count."""
        ...


class InterferenceMonitor:
    """Samples `source` while the attempt warms up and is measured; see monitor.Watch.

    While a GPU warms up, which is when its energy is read, the counter is read much more often.
    """

    kind = "witness"

    def __init__(self, source: Sampler, now: Callable[[], float] = time.monotonic) -> None:
        self.next_look = 0.0
        self._next_sample = 0.0
        self._source = source
        self._now = now

    def look(self, phase: Phase) -> None:
        """Sample, if the attempt is being measured."""
        at_s = self._now()
        self.next_look = at_s + EVERY_S
        if phase is Phase.WARM_UP:
            self._source.sample_energy()
            self.next_look = at_s + ENERGY_EVERY_S
        if phase in SAMPLED and at_s >= self._next_sample:
            self._source.sample(at_s)
            self._next_sample = at_s + EVERY_S

    def close(self) -> None:
        """Nothing to let go."""

    def applied(self, record: TrialRecord) -> TrialRecord:
        """The record with what was witnessed: doubts about a row that is ok, notes, energy per call."""
        facts = dict(record.environment)
        window = facts.pop(ENERGY, None)
        if record.outcome is not Outcome.OK and not survivor(record):
            return record.model_copy(update={"environment": facts})
        found = self._source.findings()
        metrics = dict(record.metrics or {}) | (self._energy(window) if window else {})
        return record.model_copy(
            update={
                "environment": facts,
                "metrics": metrics,
                "flags": tuple(dict.fromkeys((*record.flags, *found.flags))),
                "notes": (*record.notes, *found.notes),
            }
        )

    def _energy(self, window: Mapping[str, Any]) -> dict[str, float | None]:
        """Joules per call of the whole device, its idle share included, and millijoules per token."""
        joules = self._source.joules(window["start_s"], window["end_s"])
        per_call = None if joules is None else joules / window["calls"]
        tokens = window.get("tokens")
        per_token = None if per_call is None or not tokens else 1000 * per_call / tokens
        return {"joules_per_call": per_call, "energy_mj_per_token": per_token}
