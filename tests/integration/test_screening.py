"""Screening in real processes: what one candidate does costs the others nothing but a new process."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.attempt_result import AttemptResult
from orchestrator.executors.base import Finished
from orchestrator.isolation.isolator import Completed, Isolator
from orchestrator.isolation.standby import FEWEST
from orchestrator.outcome import Flag, Outcome
from orchestrator.record import TrialRecord
from orchestrator.supervisor.compile_ahead import compile_ahead
from orchestrator.supervisor.screener import SCREEN
from orchestrator.supervisor.supervisor import Supervisor
from orchestrator.trial import Attempt, Resources, Trial
from tests.support.attempts import BRIEF, attempt

USE = "candidates.py:build"


@pytest.fixture(scope="module")
def isolator() -> Iterator[Isolator]:
    """An isolator that the tests share."""
    with Isolator() as isolator:
        yield isolator


def screening(*options: dict[str, Any], timeout_s: float = 60.0, **fields: Any) -> Attempt:
    """An attempt that screens a candidate for each set of options."""
    own = [attempt("candidates", use=USE, options=one).trial for one in options]
    first = attempt("candidates", use=USE, options=options[0])
    resources = Resources(timeout_s=timeout_s, cpus=1)
    given = {"screened": tuple(own), "resources": resources, "protocol": BRIEF, **fields}
    return first.model_copy(update=given)


def screened(isolator: Isolator, *options: dict[str, Any], **fields: Any) -> Completed:
    return isolator.screen(screening(*options, **fields), SCREEN)


def outcomes(found: Completed) -> list[Outcome]:
    return [record.outcome for record in found.result.records]


def latency_ms(record: TrialRecord) -> float:
    assert record.metrics is not None
    return record.metrics["latency_ms"] or 0.0


def test_every_candidate_is_verified_and_timed_by_the_first(isolator: Isolator) -> None:
    """One process; each ok row says that it was only screened, and beside what."""
    found = screened(isolator, {"times": 1}, {"times": 40}, {"fault": "wrong"}, {"fault": "raise"})
    assert outcomes(found) == [Outcome.OK, Outcome.OK, Outcome.MISMATCH, Outcome.FAILED]
    for record in found.result.records[:2]:
        assert Flag.SCREENED.value in record.flags
        assert record.metrics is not None
        assert "screened" in record.notes[0]
        assert {"build", "verify", "measure"} <= set(record.phase_s or {})
    assert "times=1" in found.result.records[1].notes[0]
    assert all(record.metrics is None for record in found.result.records[2:])


def test_times_are_stated_by_the_incumbents(isolator: Isolator) -> None:
    """A candidate that is the incumbent itself has its stated time, however fast this machine is."""
    incumbent = attempt("candidates", use=USE, options={"times": 3}).trial
    found = screened(isolator, {"times": 3, "fault": ""}, incumbent=incumbent, incumbent_ms=1e6)
    (record,) = found.result.records
    assert record.metrics is not None
    assert (record.metrics["latency_ms"] or 0.0) > 1e4
    assert record.values_ms is not None


def test_a_faster_candidate_is_what_the_next_is_compared_with(isolator: Isolator) -> None:
    """And times are stated by its own, from then on."""
    for _ in range(3):  # on a busy machine a candidate may not be faster beyond doubt
        found = screened(isolator, {"times": 40}, {"times": 1}, {"times": 1, "fault": ""})
        slow, _, last = found.result.records
        assert latency_ms(last) < latency_ms(slow) / 4
        if "times=1" in last.notes[0]:
            return
    pytest.fail(last.notes[0])


def test_one_that_cannot_be_imported_is_a_row_like_any_other(isolator: Isolator) -> None:
    """The next is screened in the same process, as if nothing had been."""
    three = screening({"times": 1}, {"times": 2}, {"times": 3})
    first, second, third = three.screened
    missing = second.model_copy(update={"use": "candidates.py:no_such_name"})
    found = isolator.screen(three.model_copy(update={"screened": (first, missing, third)}), SCREEN)
    assert outcomes(found) == [Outcome.OK, Outcome.FAILED, Outcome.OK]


def test_memory_that_the_others_share_is_given_back_before_one_is_out_of_memory(
    isolator: Isolator,
) -> None:
    """A candidate is tried again without their references; the first has none to give back."""
    found = screened(isolator, {"times": 1}, {"fault": "oom once"}, {"times": 2})
    assert outcomes(found) == [Outcome.OK] * 3
    found = screened(isolator, {"fault": "oom once"}, {"times": 1})
    assert outcomes(found) == [Outcome.OOM, Outcome.OK]


@pytest.mark.parametrize(
    ("fault", "outcome"), [("abort", Outcome.CRASHED), ("exit", Outcome.CRASHED)]
)
def test_one_that_ends_the_process_is_the_last_with_a_record(
    isolator: Isolator, fault: str, outcome: Outcome
) -> None:
    """Those before it keep theirs; those behind it have none, and go on in a new process."""
    found = screened(isolator, {"times": 1}, {"fault": fault}, {"times": 2})
    assert outcomes(found) == [Outcome.OK, outcome]
    again = screened(isolator, {"times": 2})
    assert outcomes(again) == [Outcome.OK]


def test_one_that_hangs_is_a_timeout_of_its_own(isolator: Isolator) -> None:
    """Those behind it have no record; its time begins where the one before it ended."""
    found = screened(isolator, {"times": 1}, {"fault": "hang"}, {"times": 2}, timeout_s=10.0)
    assert outcomes(found) == [Outcome.OK, Outcome.TIMEOUT]
    before, hung = found.result.records
    assert hung.started_at == before.finished_at


@pytest.mark.slow
def test_the_time_limit_is_each_candidates_own(isolator: Isolator) -> None:
    """Three that take less each, and more together."""
    naps = [{"times": times, "nap": 5.0} for times in (1, 2, 3)]
    assert outcomes(screened(isolator, *naps, timeout_s=14.0)) == [Outcome.OK] * 3


def test_candidates_are_compiled_ahead_in_other_processes(
    isolator: Isolator, tmp_path: Path
) -> None:
    """Each is built once elsewhere, some in one process; where one ends its process, a new one goes
    on.
    """
    folder = str(tmp_path)
    faults = ["", "abort", "abort", "exit", "", ""]
    six = [
        {"times": number, "folder": folder, "fault": fault} for number, fault in enumerate(faults)
    ]
    isolator.call(compile_ahead(screening(*six)))
    built = [path.name.split("-") for path in tmp_path.iterdir()]
    assert sorted(times for times, _ in built) == ["0", "1", "2", "3", "4", "5"]
    # each of three ends its process, and another has to be there for what is left
    assert 4 <= len({pid for _, pid in built}) <= 6


def test_candidates_are_screened_in_a_process_that_was_made_ready(tmp_path: Path) -> None:
    """One of those that wait, and one only."""
    (tmp_path / "made_ready.py").write_text("def ready(): pass\n")
    (tmp_path / "built").mkdir()
    two = screening(*({"times": times, "folder": str(tmp_path / "built")} for times in (1, 2)))
    with Isolator(ready_by="made_ready:ready", sys_path=[*sys.path, str(tmp_path)]) as isolator:
        standing = isolator.make_ready(FEWEST)
        found = isolator.screen(two, SCREEN, made_ready=True)
        left = isolator.make_ready(FEWEST)
    assert outcomes(found) == [Outcome.OK] * 2
    (pid,) = {int(path.name.partition("-")[2]) for path in (tmp_path / "built").iterdir()}
    assert pid in standing
    assert left == standing - {pid}


def test_what_is_given_back_is_not_compiled_again(tmp_path: Path) -> None:
    """A supervisor knows which candidates it compiled for the process that broke."""
    folder = str(tmp_path)
    three = screening(
        {"times": 1, "folder": folder},
        {"times": 2, "folder": folder, "fault": "abort"},
        {"times": 3, "folder": folder},
    )
    supervisor = Supervisor("cpu", 1, "", (), staged=False)
    try:
        first = AttemptResult.model_validate_json(supervisor.run(three.model_dump_json()).result)
        left = three.model_copy(update={"screened": three.screened[2:]})
        second = AttemptResult.model_validate_json(supervisor.run(left.model_dump_json()).result)
    finally:
        supervisor.close()
    assert [record.outcome for record in first.records] == [Outcome.OK, Outcome.CRASHED]
    assert [record.outcome for record in second.records] == [Outcome.OK]
    built = Counter(path.name.partition("-")[0] for path in tmp_path.iterdir())
    assert built == {"1": 2, "2": 2, "3": 2}  # compiled once, and screened once


def test_the_driver_gets_the_end_of_each_trial(isolator: Isolator) -> None:
    """One for each that the process came to, with the log where it is not ok."""
    asked = screening({"times": 1}, {"fault": "wrong"}, {"fault": "abort"}, {"times": 2})
    done = isolator.screen(asked, SCREEN)
    ends = Finished.of(asked, done.result, b"words").of_each_trial()
    assert [end.record.trial_id for end in ends] == [one.trial_id for one in asked.screened[:3]]
    assert [end.attempt.trial for end in ends] == list(asked.screened[:3])
    assert [end.log for end in ends] == [b"", b"words", b"words"]


def test_attempts_are_those_of_the_trials_alone() -> None:
    """Each carries its trial and nothing of the others."""
    trial = Trial.of(implementation="x", use="x", params={}, options={})
    both = screening({"times": 1}, {"times": 2}, incumbent=trial, incumbent_ms=1.0)
    for own, wanted in zip(both.of_each_trial(), both.screened, strict=True):
        assert own.trial == wanted
        assert (own.screened, own.incumbent, own.incumbent_ms) == ((), None, None)
