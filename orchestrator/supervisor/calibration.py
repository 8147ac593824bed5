"""Calibrates a slot: measures the device's peak rates, and times control benchmarks for drift.

Each calibration runs in a process of its own, like a trial. `Calibration` keeps the peak rates
(ceilings) of its slot and returns `Observation`s, which the driver appends to machine.jsonl.
Controls are timed before the first attempt, between rounds, once a minute and after the last
attempt: two short sweeps can be compared only if each records how fast its machine was.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from orchestrator.isolation.isolator import Isolator
from orchestrator.machine.ceilings import Ceilings
from orchestrator.machine.microbenchmarks import MATMUL_SIZES, measure_ceilings, measure_controls
from orchestrator.machine.observation import Kind, Observation
from orchestrator.outcome import Outcome, Phase
from orchestrator.record import Fingerprint, TrialRecord, record_of, utc_now
from orchestrator.trial import Attempt, Resources, Trial

TARGET = "orchestrator.supervisor.calibration:calibrate"
KINDS: tuple[Kind, ...] = ("sentinel", "ceilings")  # ceilings last: they heat a card
EVERY_S = 60.0
TIMEOUT_S = 60.0


class Calibration:
    """Calibrates one slot's device when that is due.

    Args:
        isolator: runs each calibration in a process of its own.
        now: seconds of a monotonic clock.
    """

    def __init__(self, isolator: Isolator, now: Callable[[], float] = time.monotonic) -> None:
        self._isolator = isolator
        self._now = now
        self._due_s = now()
        self._round = 0
        self._ceilings: Ceilings | None = None
        self._asked: set[str] = set()
        self._last: Attempt | None = None
        self._seen: list[Observation] = []

    def prepare(self, attempt: Attempt) -> Attempt:
        """The attempt with the ceilings of its precision, measured now if they never were.

        Controls that are due are timed in the same process. If calibration fails, the attempt is
        returned unchanged: its trial is not the cause.
        """
        wanted: list[Kind] = []
        if attempt.sentinels and (self._now() >= self._due_s or attempt.round != self._round):
            wanted.append("sentinel")
        precision = attempt.precision
        known = precision in MATMUL_SIZES[attempt.device.partition(":")[0]]
        if known and precision not in self._asked:
            wanted.append("ceilings")
        if wanted:
            self._calibrate(attempt, wanted)
        if self._ceilings is None or not precision:
            return attempt
        return attempt.model_copy(update={"ceilings": self._ceilings.model_dump()})

    def conclude(self) -> None:
        """Time the last controls, if there were earlier ones to compare them with."""
        if self._last is not None:
            self._calibrate(self._last, ["sentinel"])

    def take(self) -> list[Observation]:
        """The observations since the last call."""
        seen, self._seen = self._seen, []
        return seen

    def _calibrate(self, attempt: Attempt, wanted: Sequence[Kind]) -> None:
        """Measure what is wanted in one process, and keep the observations."""
        precisions = [attempt.precision] if "ceilings" in wanted else []
        self._asked.update(precisions)
        if "sentinel" in wanted:
            self._last, self._round = attempt, attempt.round
        record = self._isolator.run(_calibrating(attempt, wanted, precisions), target=TARGET).record
        if "sentinel" in wanted:
            self._due_s = self._now() + EVERY_S
        if record.outcome is not Outcome.OK:
            return
        for kind in wanted:
            values: dict[str, Any] = record.environment[kind]
            seen = Observation(kind=kind, at=record.finished_at, host=record.host, values=values)
            self._seen.append(seen)
            if kind == "ceilings":
                found = Ceilings.model_validate(values)
                held = self._ceilings
                self._ceilings = found if held is None else held.merged(found)


def _calibrating(attempt: Attempt, wanted: Sequence[Kind], precisions: Sequence[str]) -> Attempt:
    """The attempt that calibrates the device of another. It has no memory cap: it is no trial."""
    params = {"kinds": list(wanted), "precisions": list(precisions)}
    trial = Trial.of(implementation="calibration", use=TARGET, params=params, options={})
    resources = Resources(
        gpus=attempt.resources.gpus, cpus=attempt.resources.cpus, timeout_s=TIMEOUT_S
    )
    own = {"trial": trial, "resources": resources, "rival": None, "ceilings": None}
    return attempt.model_copy(update=own)


def calibrate(attempt: Attempt, on_phase: Callable[[Phase], None]) -> TrialRecord:
    """Measure the device, as an attempt; the record's environment holds the values, by kind."""
    started_at, params = utc_now(), attempt.trial.params
    on_phase(Phase.MEASURE)
    seen: dict[str, Any] = {}
    for kind in KINDS:
        if kind not in params["kinds"]:
            continue
        if kind == "sentinel":
            seen[kind] = measure_controls(attempt.device, started_at).model_dump()
        else:
            seen[kind] = measure_ceilings(attempt.device, params["precisions"]).model_dump()
    nothing = Fingerprint(source="", environment="", protocol="")
    return record_of(
        attempt, Outcome.OK, Phase.DONE, started_at, {}, fingerprint=nothing, environment=seen
    )
