"""Measures the device itself in a process of its own, like a trial: what it can do, and whether it still can.

A `Calibration` asks the isolator for the process when a look is due, keeps the ceilings of its slot, and hands
on what was
seen as `Observation`s, which the driver appends to machine.jsonl beside the results.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from orchestrator.isolation.isolator import Isolator
from orchestrator.machine.ceilings import MATMUL_SIZES, Ceilings, measure_ceilings, measure_sentinel
from orchestrator.machine.observation import Kind, Observation
from orchestrator.model import FrozenModel
from orchestrator.outcome import Outcome, Phase
from orchestrator.record import Fingerprint, TrialRecord, record_of, utc_now
from orchestrator.trial import Attempt, Resources, Trial

TARGET = "orchestrator.supervisor.calibration:calibrate"
EVERY_S = 60.0
# A GPU's clocks are worth a look before anything is timed. A look costs a CPU a good part of a second with all cores
# busy, and short sweeps have nothing to drift over: there the first comes when the interval has passed once.
FIRST_AFTER_S = {"cuda": 0.0, "cpu": EVERY_S}
TIMEOUT_S = 60.0


class Calibration:
    """Looks at one slot's device when that is due.

    Args:
        isolator: gives each look a process of its own.
        device: "cpu" or "cuda".
        now: seconds on a clock that never goes back.
    """

    def __init__(self, isolator: Isolator, device: str, now: Callable[[], float] = time.monotonic) -> None:
        self._isolator = isolator
        self._now = now
        self._due_s = now() + FIRST_AFTER_S[device.partition(":")[0]]
        self._ceilings: Ceilings | None = None
        self._asked: set[str] = set()
        self._last: Attempt | None = None
        self._seen: list[Observation] = []

    def prepare(self, attempt: Attempt) -> Attempt:
        """The attempt with the ceilings of its precision, measured now if they never were; a sentinel, if one is due.

        A look that fails leaves the attempt as it is: its trial is not to blame.
        """
        if attempt.sentinels and self._now() >= self._due_s:
            self._keep_watch(attempt)
        precision = attempt.precision
        if precision in MATMUL_SIZES[attempt.device.partition(":")[0]] and precision not in self._asked:
            self._asked.add(precision)
            self._add(self._ask("ceilings", attempt, [precision]))
        if self._ceilings is None or not precision:
            return attempt
        return attempt.model_copy(update={"ceilings": self._ceilings.model_dump()})

    def conclude(self) -> None:
        """A last sentinel, where there was one before to compare it with."""
        if self._last is not None:
            self._keep_watch(self._last)

    def take(self) -> list[Observation]:
        """What was seen since the last call."""
        seen, self._seen = self._seen, []
        return seen

    def _keep_watch(self, attempt: Attempt) -> None:
        self._last = attempt
        self._ask("sentinel", attempt, [])
        self._due_s = self._now() + EVERY_S

    def _add(self, values: dict[str, Any] | None) -> None:
        if values is not None:
            found = Ceilings.model_validate(values)
            self._ceilings = found if self._ceilings is None else self._ceilings.merged(found)

    def _ask(self, kind: Kind, attempt: Attempt, precisions: Sequence[str]) -> dict[str, Any] | None:
        record = self._isolator.run(_looking(kind, attempt, precisions), target=TARGET).record
        values: dict[str, Any] | None = record.environment.get(kind) if record.outcome is Outcome.OK else None
        if values is not None:
            self._seen.append(Observation(kind=kind, at=record.finished_at, host=record.host, values=values))
        return values


def _looking(kind: Kind, attempt: Attempt, precisions: Sequence[str]) -> Attempt:
    """The attempt that looks at the device of another: uncapped, for the look is ours."""
    trial = Trial.of(implementation=kind, use=TARGET, params={"precisions": list(precisions)}, options={})
    resources = Resources(gpus=attempt.resources.gpus, cpus=attempt.resources.cpus, timeout_s=TIMEOUT_S)
    own = {"trial": trial, "resources": resources, "rival": None, "ceilings": None}
    return attempt.model_copy(update=own)


def calibrate(attempt: Attempt, on_phase: Callable[[Phase], None]) -> TrialRecord:
    """Look at the device, in a process of its own; what was found is in the record's environment, under its kind."""
    started_at, trial = utc_now(), attempt.trial
    on_phase(Phase.MEASURE)
    if trial.implementation == "ceilings":
        found: FrozenModel = measure_ceilings(attempt.device, trial.params["precisions"])
    else:
        found = measure_sentinel(attempt.device, started_at)
    nothing = Fingerprint(source="", environment="", protocol="")
    seen = {trial.implementation: found.model_dump()}
    return record_of(attempt, Outcome.OK, Phase.DONE, started_at, {}, fingerprint=nothing, environment=seen)
