"""Calibration: ceilings once a slot and precision, controls when due; no trial suffers for it."""

from __future__ import annotations

from typing import Any

from orchestrator.isolation.process_end import Cause
from orchestrator.isolation.request import Call
from orchestrator.machine.ceilings import Ceilings
from orchestrator.machine.observation import Control, drift_sentences
from orchestrator.outcome import Outcome
from orchestrator.supervisor.calibration import (
    EVERY_S,
    Calibration,
    CalibrationRequest,
    CalibrationResult,
    calibrate,
)
from orchestrator.trial import Attempt, Resources
from tests.support.attempts import attempt

CEILINGS = Ceilings(
    device="cpu", matmul_flops_per_s={"float32": 1e11}, copy_bytes_per_s=1e10, cache_bytes=2**20
)
CONTROL = Control(at="now", matmul_ms=1.0, copy_ms=2.0)


class Isolated:
    """Answers calibrations by hand, and keeps what was asked."""

    def __init__(self, ends_as: Cause | None = None) -> None:
        self.asked: list[str] = []
        self.calls: list[Call[Any]] = []
        self._ends_as = ends_as

    def call(self, call: Call[Any]) -> CalibrationResult | Cause:
        self.calls.append(call)
        request = call.argument
        assert isinstance(request, CalibrationRequest)
        kinds = ["sentinel"] * request.controls + ["ceilings"] * bool(request.precisions)
        self.asked.append("+".join(kinds))
        return self._ends_as or CalibrationResult(
            at="now",
            host="here",
            controls=CONTROL if request.controls else None,
            ceilings=CEILINGS if request.precisions else None,
        )


class Watch:
    """A calibration on a clock that is set by hand."""

    def __init__(self, ends_as: Cause | None = None) -> None:
        self.now = 0.0
        self.isolated = Isolated(ends_as)
        self.calibration = Calibration(self.isolated, now=lambda: self.now)

    def at(self, seconds: float, **fields: Any) -> Attempt:
        self.now = seconds
        given = attempt("honest").model_copy(
            update={"precision": "float32", "sentinels": True, **fields}
        )
        return self.calibration.prepare(given)


def test_ceilings_are_measured_once_for_each_precision() -> None:
    """And go with every attempt from then on."""
    watch = Watch()
    assert watch.at(0, sentinels=False).ceilings == CEILINGS.model_dump()
    assert watch.at(1, sentinels=False).ceilings == CEILINGS.model_dump()
    watch.at(2, precision="float64", sentinels=False)
    watch.at(3, precision="", sentinels=False)
    assert watch.isolated.asked == ["ceilings", "ceilings"]


def test_controls_are_timed_at_the_start_now_and_then_and_at_the_end() -> None:
    """However short the sweep: the next one is compared with it."""
    watch = Watch()
    for seconds in (0.0, 1.0, EVERY_S + 1, EVERY_S + 2):
        watch.at(seconds, precision="")
    assert watch.isolated.asked == ["sentinel"] * 2
    watch.calibration.conclude()
    assert watch.isolated.asked == ["sentinel"] * 3
    assert [seen.kind for seen in watch.calibration.take()] == ["sentinel"] * 3
    assert watch.calibration.take() == []


def test_controls_are_timed_between_rounds() -> None:
    """A round is another fresh process of every row, and the machine may have changed meanwhile."""
    watch = Watch()
    for number in (1, 1, 2, 2):
        watch.at(float(number), precision="", round=number)
    assert watch.isolated.asked == ["sentinel"] * 2


def test_what_is_due_together_shares_a_process() -> None:
    """On a GPU a process costs half a second before it does anything."""
    watch = Watch()
    watch.at(0)
    assert watch.isolated.asked == ["sentinel+ceilings"]
    assert [seen.kind for seen in watch.calibration.take()] == ["sentinel", "ceilings"]


def test_sweeps_that_want_no_controls_have_none() -> None:
    """Nothing to compare, none at the end either."""
    watch = Watch()
    watch.at(0, sentinels=False, precision="")
    watch.calibration.conclude()
    assert watch.isolated.asked == []


def test_a_calibration_that_fails_is_not_the_trial_s_fault() -> None:
    """It goes on without ceilings, and it is not tried again."""
    watch = Watch(Cause(Outcome.CRASHED, "SIGSEGV", "it died"))
    assert watch.at(0).ceilings is None
    assert watch.at(1).ceilings is None
    assert watch.isolated.asked == ["sentinel+ceilings"]
    assert watch.calibration.take() == []


def test_a_machine_that_changed_between_calibrations_is_named() -> None:
    """By what drifted, from what to what."""
    watch = Watch()
    watch.at(0, precision="")
    seen = watch.calibration.take()
    slower = seen[0].model_copy(update={"values": {**seen[0].values, "matmul_ms": 1.1}})
    assert drift_sentences(seen, "cuda") == []
    (said,) = drift_sentences([*seen, slower], "cuda")
    assert "a fixed matmul took 1 ms at its fastest, 1.1 ms at its slowest (+10%)" in said


def test_a_calibration_has_the_attempt_s_device_and_not_its_memory_cap() -> None:
    """It is no trial: it may take what memory it needs, for a minute at most."""
    watch = Watch()
    limits = Resources(gpus=2, cpus=3, gpu_memory_gib=1.0, timeout_s=5.0)
    watch.at(0, resources=limits, device="cuda:1")
    (call,) = watch.isolated.calls
    assert call.argument == CalibrationRequest(
        device="cuda:1", controls=True, precisions=("float32",)
    )
    assert call.resources == Resources(gpus=2, cpus=3, timeout_s=60.0)


def test_what_is_not_asked_for_is_not_measured(monkeypatch: Any) -> None:
    """The request arrives as JSON text; the answer is a type of its own."""
    monkeypatch.setattr(
        "orchestrator.supervisor.calibration.measure_controls", lambda device, at: CONTROL
    )
    request = CalibrationRequest(device="cpu", controls=True, precisions=())
    found = calibrate(request.model_dump_json())
    assert (found.controls, found.ceilings) == (CONTROL, None)
    assert [seen.kind for seen in found.observations()] == ["sentinel"]
