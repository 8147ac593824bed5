"""Calibration: ceilings once a slot and precision, controls when due; no trial suffers for it."""

from __future__ import annotations

from typing import Any

from orchestrator.isolation.isolator import Completed
from orchestrator.machine.ceilings import Ceilings
from orchestrator.machine.observation import Control, drifts
from orchestrator.outcome import Outcome, Phase
from orchestrator.record import TrialRecord
from orchestrator.supervisor.calibration import EVERY_S, Calibration, calibrate
from orchestrator.trial import Attempt
from tests.support import made
from tests.support.attempts import attempt

SEEN = {
    "ceilings": Ceilings(
        device="cpu", matmul_flops_per_s={"float32": 1e11}, copy_bytes_per_s=1e10, cache_bytes=2**20
    ).model_dump(),
    "sentinel": Control(at="now", matmul_ms=1.0, copy_ms=2.0).model_dump(),
}


class Isolated:
    """Answers looks by hand, and keeps what was asked."""

    def __init__(self, outcome: Outcome = Outcome.OK) -> None:
        self.asked: list[str] = []
        self._outcome = outcome

    def run(self, attempt: Attempt, target: str) -> Completed:
        kinds = attempt.trial.params["kinds"]
        assert attempt.rival is None
        assert attempt.resources.gpu_memory_gib is None
        self.asked.append("+".join(kinds))
        seen = {kind: SEEN[kind] for kind in kinds}
        return Completed(
            made.record(attempt.trial, self._outcome, phase=Phase.DONE, environment=seen)
        )


class Watch:
    """A calibration on a clock that is set by hand."""

    def __init__(self, outcome: Outcome = Outcome.OK) -> None:
        self.now = 0.0
        self.isolated = Isolated(outcome)
        self.lookout = Calibration(self.isolated, now=lambda: self.now)  # type: ignore[arg-type]

    def at(self, seconds: float, **fields: Any) -> Attempt:
        self.now = seconds
        given = attempt("honest").model_copy(
            update={"precision": "float32", "sentinels": True, **fields}
        )
        return self.lookout.prepare(given)


def test_ceilings_are_measured_once_for_each_precision() -> None:
    """And go with every attempt from then on."""
    watch = Watch()
    assert watch.at(0, sentinels=False).ceilings == SEEN["ceilings"]
    assert watch.at(1, sentinels=False).ceilings == SEEN["ceilings"]
    watch.at(2, precision="float64", sentinels=False)
    watch.at(3, precision="", sentinels=False)
    assert watch.isolated.asked == ["ceilings", "ceilings"]


def test_controls_are_timed_at_the_start_now_and_then_and_at_the_end() -> None:
    """However short the sweep: the next one is compared with it."""
    watch = Watch()
    for seconds in (0.0, 1.0, EVERY_S + 1, EVERY_S + 2):
        watch.at(seconds, precision="")
    assert watch.isolated.asked == ["sentinel"] * 2
    watch.lookout.conclude()
    assert watch.isolated.asked == ["sentinel"] * 3
    assert [seen.kind for seen in watch.lookout.take()] == ["sentinel"] * 3
    assert watch.lookout.take() == []


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
    assert [seen.kind for seen in watch.lookout.take()] == ["sentinel", "ceilings"]


def test_sweeps_that_want_no_controls_have_none() -> None:
    """Nothing to compare, none at the end either."""
    watch = Watch()
    watch.at(0, sentinels=False, precision="")
    watch.lookout.conclude()
    assert watch.isolated.asked == []


def test_a_look_that_fails_is_not_the_trial_s_fault() -> None:
    """It goes on without ceilings, and the look is not tried again."""
    watch = Watch(Outcome.CRASHED)
    assert watch.at(0).ceilings is None
    assert watch.at(1).ceilings is None
    assert watch.isolated.asked == ["sentinel+ceilings"]
    assert watch.lookout.take() == []


def test_a_machine_that_changed_between_looks_is_named() -> None:
    """By what drifted, from what to what."""
    watch = Watch()
    watch.at(0, precision="")
    seen = watch.lookout.take()
    slower = seen[0].model_copy(update={"values": {**seen[0].values, "matmul_ms": 1.1}})
    assert drifts(seen, "cuda") == []
    (said,) = drifts([*seen, slower], "cuda")
    assert "a fixed matmul took 1 ms at its fastest, 1.1 ms at its slowest (+10%)" in said


def test_a_look_is_an_attempt_like_any_other(monkeypatch: Any) -> None:
    """What was found is in the environment of its record."""
    monkeypatch.setattr(
        "orchestrator.supervisor.calibration.measure_controls",
        lambda device, at: Control(**SEEN["sentinel"]),
    )
    phases: list[Phase] = []
    given = attempt("honest")
    params = {"kinds": ["sentinel"], "precisions": []}
    trial = given.trial.model_copy(update={"params": params})
    record: TrialRecord = calibrate(given.model_copy(update={"trial": trial}), phases.append)
    assert (record.outcome, phases) == (Outcome.OK, [Phase.MEASURE])
    assert record.environment["sentinel"]["matmul_ms"] == 1.0
