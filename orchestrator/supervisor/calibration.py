"""Calibrates a slot: measures the device's peak rates, and times control benchmarks for drift.

Each calibration runs in a process of its own, like a trial. `Calibration` keeps the peak rates
(ceilings) of its slot and returns `Observation`s, which the driver appends to machine.jsonl.
Controls are timed before the first attempt, between rounds, once a minute and after the last
attempt: two short sweeps can be compared only if each records how fast its machine was.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from orchestrator.isolation.process_end import Cause
from orchestrator.isolation.request import Call, Returned
from orchestrator.machine.ceilings import Ceilings
from orchestrator.machine.microbenchmarks import MATMUL_SIZES, measure_ceilings, measure_controls
from orchestrator.machine.observation import Control, Kind, Observation
from orchestrator.record import utc_now
from orchestrator.trial import Attempt, Resources
from orchestrator.util.frozen_model import FrozenModel

TARGET = "orchestrator.supervisor.calibration:calibrate"
EVERY_S = 60.0
TIMEOUT_S = 60.0


class CalibrationRequest(FrozenModel):
    """What to measure of a device.

    Attributes:
        controls: whether to time the control benchmarks.
        precisions: of which the peak rates are wanted; empty: none.
    """

    device: str
    controls: bool
    precisions: tuple[str, ...]


class CalibrationResult(FrozenModel):
    """What was measured of a device.

    Attributes:
        at: when it was over, as records state it.
        controls, ceilings: None: not asked for.
    """

    at: str
    host: str
    controls: Control | None = None
    ceilings: Ceilings | None = None

    def observations(self) -> list[Observation]:
        """One for each kind of measurement."""
        found: list[Observation] = []
        if self.controls is not None:
            found.append(self._observation("sentinel", self.controls))
        if self.ceilings is not None:
            found.append(self._observation("ceilings", self.ceilings))
        return found

    def _observation(self, kind: Kind, measured: Control | Ceilings) -> Observation:
        return Observation(kind=kind, at=self.at, host=self.host, values=measured.model_dump())


class CallsFunctions(Protocol):
    """What calls a function in a process of its own: an Isolator."""

    def call(self, call: Call[Returned], /) -> Returned | Cause:
        """What it returned, or why it returned nothing."""
        ...


class Calibration:
    """Calibrates one slot's device when that is due.

    Args:
        isolator: makes each calibration in a process of its own.
        now: seconds of a monotonic clock.
    """

    def __init__(self, isolator: CallsFunctions, now: Callable[[], float] = time.monotonic) -> None:
        self._isolator = isolator
        self._now = now
        self._due_s = now()
        self._round = 0
        self._ceilings: Ceilings | None = None
        self._asked: set[str] = set()
        self._last: Attempt | None = None
        self._seen: list[Observation] = []

    def is_due(self, attempt: Attempt) -> bool:
        """Whether `prepare` will measure something for this attempt."""
        return self._controls_are_due(attempt) or self._lacks_ceilings(attempt)

    def prepare(self, attempt: Attempt) -> Attempt:
        """The attempt with the ceilings of its precision, measured now if they never were.

        Controls that are due are timed in the same process. If calibration fails, the attempt is
        returned unchanged: its trial is not the cause.
        """
        if self.is_due(attempt):
            controls = self._controls_are_due(attempt)
            precisions = [attempt.precision] if self._lacks_ceilings(attempt) else []
            self._calibrate(attempt, controls=controls, precisions=precisions)
        if self._ceilings is None or not attempt.precision:
            return attempt
        return attempt.model_copy(update={"ceilings": self._ceilings.model_dump()})

    def _controls_are_due(self, attempt: Attempt) -> bool:
        is_time = self._now() >= self._due_s or attempt.round != self._round
        return attempt.sentinels and is_time

    def _lacks_ceilings(self, attempt: Attempt) -> bool:
        known = MATMUL_SIZES[attempt.device.partition(":")[0]]
        return attempt.precision in known and attempt.precision not in self._asked

    def conclude(self) -> None:
        """Time the last controls, if there were earlier ones to compare them with."""
        if self._last is not None:
            self._calibrate(self._last, controls=True)

    def take(self) -> list[Observation]:
        """The observations since the last call."""
        seen, self._seen = self._seen, []
        return seen

    def _calibrate(
        self, attempt: Attempt, *, controls: bool, precisions: Sequence[str] = ()
    ) -> None:
        """Measure what is wanted in one process, and keep the observations."""
        self._asked.update(precisions)
        if controls:
            self._last, self._round = attempt, attempt.round
        found = self._isolator.call(_calibration_of(attempt, controls, precisions))
        if controls:
            self._due_s = self._now() + EVERY_S
        if isinstance(found, Cause):
            return
        self._seen += found.observations()
        if found.ceilings is not None:
            held = self._ceilings
            self._ceilings = found.ceilings if held is None else held.merged(found.ceilings)


def _calibration_of(
    attempt: Attempt, controls: bool, precisions: Sequence[str]
) -> Call[CalibrationResult]:
    """The call that calibrates the device of an attempt; without the attempt's memory cap."""
    resources = attempt.resources
    return Call(
        TARGET,
        CalibrationRequest(device=attempt.device, controls=controls, precisions=tuple(precisions)),
        CalibrationResult,
        attempt.device,
        Resources(gpus=resources.gpus, cpus=resources.cpus, timeout_s=TIMEOUT_S),
    )


def calibrate(request_json: str) -> CalibrationResult:
    """Measure the device as a CalibrationRequest asks, given as JSON text.

    Ceilings are measured last: they heat a card.
    """
    request = CalibrationRequest.model_validate_json(request_json)
    controls = measure_controls(request.device, utc_now()) if request.controls else None
    ceilings = None
    if request.precisions:
        ceilings = measure_ceilings(request.device, list(request.precisions))
    return CalibrationResult(
        at=utc_now(), host=socket.gethostname(), controls=controls, ceilings=ceilings
    )
