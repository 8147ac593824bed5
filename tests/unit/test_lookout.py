"""The lookout: ceilings once a slot and precision, sentinels when they are due, and no trial suffers for a look."""

from __future__ import annotations

from typing import Any

from orchestrator.isolation.isolator import Completed
from orchestrator.machine.ceilings import Ceilings, Sentinel
from orchestrator.machine.observation import drifts
from orchestrator.outcome import Outcome, Phase
from orchestrator.record import TrialRecord
from orchestrator.supervisor.calibration import EVERY_S, Calibration, calibrate
from orchestrator.trial import Attempt
from tests.unit.attempts import attempt
from tests.unit.report import made

SEEN = {
    "ceilings": Ceilings(
        device="cpu", matmul_flops_per_s={"float32": 1e11}, copy_bytes_per_s=1e10, cache_bytes=2**20
    ).model_dump(),
    "sentinel": Sentinel(at="now", matmul_ms=1.0, copy_ms=2.0).model_dump(),
}


class Isolated:
    """Answers looks by hand, and keeps what was asked."""

    def __init__(self, outcome: Outcome = Outcome.OK) -> None:
        self.asked: list[str] = []
        self._outcome = outcome

    def run(self, attempt: Attempt, target: str) -> Completed:
        kind = attempt.trial.implementation
        assert attempt.rival is None
        assert attempt.resources.gpu_memory_gib is None
        self.asked.append(kind)
        return Completed(made.record(attempt.trial, self._outcome, phase=Phase.DONE, environment={kind: SEEN[kind]}))


class Watch:
    """A lookout on a clock that is set by hand."""

    def __init__(self, device: str, outcome: Outcome = Outcome.OK) -> None:
        self.now = 0.0
        self.isolated = Isolated(outcome)
        self.lookout = Calibration(self.isolated, device, now=lambda: self.now)  # type: ignore[arg-type]

    def at(self, seconds: float, **fields: Any) -> Attempt:
        self.now = seconds
        given = attempt("honest").model_copy(update={"precision": "float32", "sentinels": True, **fields})
        return self.lookout.prepare(given)


def test_ceilings_are_measured_once_for_each_precision() -> None:
    """And go with every attempt from then on."""
    watch = Watch("cpu")
    assert watch.at(0).ceilings == SEEN["ceilings"]
    assert watch.at(1).ceilings == SEEN["ceilings"]
    watch.at(2, precision="float64")
    watch.at(3, precision="")
    assert watch.isolated.asked == ["ceilings", "ceilings"]


def test_a_gpu_is_looked_at_before_anything_and_then_at_intervals() -> None:
    """A CPU for the first time when an interval has passed; both once more at the end, where there was one before."""
    gpu, cpu = Watch("cuda"), Watch("cpu")
    for seconds in (0.0, 1.0, EVERY_S + 1, EVERY_S + 2):
        gpu.at(seconds, precision="")
        cpu.at(seconds, precision="")
    assert gpu.isolated.asked == ["sentinel"] * 2
    assert cpu.isolated.asked == ["sentinel"]
    gpu.lookout.conclude()
    assert gpu.isolated.asked == ["sentinel"] * 3
    assert [seen.kind for seen in gpu.lookout.take()] == ["sentinel"] * 3
    assert gpu.lookout.take() == []


def test_short_sweeps_and_those_that_want_none_have_no_sentinel() -> None:
    """Nothing to compare, no last look either."""
    watch = Watch("cuda")
    watch.at(0, sentinels=False, precision="")
    watch.lookout.conclude()
    assert watch.isolated.asked == []


def test_a_look_that_fails_is_not_the_trial_s_fault() -> None:
    """It goes on without ceilings, and the look is not tried again."""
    watch = Watch("cpu", Outcome.CRASHED)
    assert watch.at(0).ceilings is None
    assert watch.at(1).ceilings is None
    assert watch.isolated.asked == ["ceilings"]
    assert watch.lookout.take() == []


def test_a_machine_that_changed_between_looks_is_named() -> None:
    """By what drifted, from what to what."""
    watch = Watch("cuda")
    watch.at(0, precision="")
    seen = watch.lookout.take()
    slower = seen[0].model_copy(update={"values": {**seen[0].values, "matmul_ms": 1.1}})
    assert drifts(seen, "cuda") == []
    (said,) = drifts([*seen, slower], "cuda")
    assert "matmul_ms went from 1 to 1.1 (+10%)" in said


def test_a_look_is_an_attempt_like_any_other(monkeypatch: Any) -> None:
    """What was found is in the environment of its record."""
    monkeypatch.setattr(
        "orchestrator.supervisor.calibration.measure_sentinel", lambda device, at: Sentinel(**SEEN["sentinel"])
    )
    phases: list[Phase] = []
    given = attempt("honest")
    trial = given.trial.model_copy(update={"implementation": "sentinel"})
    record: TrialRecord = calibrate(given.model_copy(update={"trial": trial}), phases.append)
    assert (record.outcome, phases) == (Outcome.OK, [Phase.MEASURE])
    assert record.environment["sentinel"]["matmul_ms"] == 1.0
