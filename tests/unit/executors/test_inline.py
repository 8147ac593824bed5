"""The inline executor, the fake that other tests rely on: in order, one at a time, with every
event.
"""

from __future__ import annotations

import pytest

from orchestrator.executors.base import Event, Executor, Finished, PhaseChanged, SlotReady, Started
from orchestrator.executors.inline import InlineExecutor, OnPhase
from orchestrator.outcome import Outcome, Phase
from orchestrator.record import Fingerprint, TrialRecord
from orchestrator.trial import Attempt
from tests.support.attempts import attempt


def pretend(given: Attempt, on_phase: OnPhase) -> TrialRecord:
    """A worker that does nothing and says ok."""
    on_phase(Phase.BUILD)
    on_phase(Phase.DONE)
    return TrialRecord(
        sweep_id=given.sweep_id,
        trial_id=given.trial.trial_id,
        implementation=given.trial.implementation,
        params=given.trial.params,
        outcome=Outcome.OK,
        phase=Phase.DONE,
        fingerprint=Fingerprint(source="", environment="", protocol=""),
        started_at="",
        finished_at="",
    )


def drained(executor: Executor) -> list[Event]:
    """All events until there are no more."""
    events: list[Event] = []
    while batch := executor.poll(0.0):
        events.extend(batch)
    return events


def test_attempts_run_in_order_and_tell_their_story() -> None:
    """The slot is announced once, with its environment; then each attempt starts, moves and
    finishes.
    """
    executor = InlineExecutor(pretend, environment={"match": {"model": "pretend"}})
    one, two = attempt("honest"), attempt("raises")
    executor.submit(one)
    executor.submit(two)
    events = drained(executor)
    story = [SlotReady(0, {"match": {"model": "pretend"}})]
    for which in (one, two):
        phases = [PhaseChanged(which, phase, 0) for phase in (Phase.BUILD, Phase.DONE)]
        story += [Started(which, 0), *phases, Finished(which, pretend(which, lambda _: None))]
    assert events == story


def test_the_slot_is_told_of_before_anything_is_queued() -> None:
    """Who goes on with a sweep asks for its environment first; a poll of an idle executor returns
    at once.
    """
    executor = InlineExecutor(pretend, environment={"match": {}})
    assert executor.poll(60.0) == [SlotReady(0, {"match": {}})]
    assert executor.poll(60.0) == []


def test_cancelled_attempts_come_back_and_do_not_run() -> None:
    """What has run stays run; what has not is handed back in its order."""
    executor = InlineExecutor(pretend, environment={})
    attempts = [attempt(name) for name in ("honest", "raises", "exits")]
    for each in attempts:
        executor.submit(each)
    executor.poll(0.0)
    assert executor.cancel_queued() == attempts[1:]
    assert drained(executor) == []


def test_closing_twice_is_closing() -> None:
    """A closed executor has nothing left to run."""
    executor = InlineExecutor(pretend)
    executor.submit(attempt("honest"))
    executor.close()
    executor.close()
    assert drained(executor) == []


@pytest.mark.slow
def test_by_default_the_real_worker_runs() -> None:
    """Without isolation, but with everything else: verified, measured, or failed with a reason."""
    executor = InlineExecutor()
    executor.submit(attempt("honest"))
    executor.submit(attempt("raises"))
    events = drained(executor)
    records = [event.record for event in events if isinstance(event, Finished)]
    assert [record.outcome for record in records] == [Outcome.OK, Outcome.FAILED]
    assert isinstance(events[0], SlotReady)
    assert events[0].environment["match"] == records[0].environment["match"]
