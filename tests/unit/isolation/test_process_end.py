"""However a process ended, its record says what happened, where, and which log to open."""

from __future__ import annotations

import json
import signal

import pytest

from orchestrator.isolation.child import EXIT_NO_PIPE
from orchestrator.isolation.process_end import (
    Cause,
    ProcessEnd,
    read_line,
    result_of_end,
    value_of_end,
)
from orchestrator.isolation.request import Call
from orchestrator.outcome import Outcome, Phase
from orchestrator.record import TrialRecord, fingerprint, utc_now
from orchestrator.spec.models import MeasureSpec, VerifySpec
from orchestrator.trial import Attempt, Resources, Trial

ENVIRONMENT = {"device": "cpu"}
TIMEOUT = Cause(Outcome.TIMEOUT, "Timeout", "it took too long")


def exited(code: int) -> int:
    """The wait status of a process that exited with a code."""
    return code << 8


@pytest.fixture
def attempt() -> Attempt:
    """Any attempt."""
    return Attempt(
        sweep_id="s",
        trial=Trial.of(implementation="mine", use="./mine.py:build", params={"n": 8}, options={}),
        workload="w",
        base_dir=".",
        device="cpu",
        seed=0,
        protocol=MeasureSpec().for_device("cpu"),
        verify=VerifySpec(),
        resources=Resources(),
        round=2,
        attempt=3,
        source="abc",
    )


def verdict(attempt: Attempt, ending: ProcessEnd) -> TrialRecord:
    """The record of an ending."""
    return result_of_end(attempt, ending, utc_now(), lambda: ENVIRONMENT).record


def answer(attempt: Attempt, changes: dict[str, object] | None = None) -> bytes:
    """The line by which a worker answers."""
    record = {
        "sweep_id": attempt.sweep_id,
        "trial_id": attempt.trial.trial_id,
        "implementation": "mine",
        "params": {"n": 8},
        "round": 2,
        "attempt": 3,
        "outcome": "mismatch",
        "phase": "verify",
        "error": {"kind": "Mismatch", "message": "off by 0.3"},
        "fingerprint": fingerprint(attempt, ENVIRONMENT).model_dump(),
        "started_at": utc_now(),
        "finished_at": utc_now(),
        "environment": {"match": ENVIRONMENT},
        **(changes or {}),
    }
    return json.dumps({"result": {"record": record}}).encode()


@pytest.mark.parametrize(
    ("ending", "outcome", "kind", "says"),
    [
        (
            ProcessEnd(Phase.BUILD, status=signal.SIGSEGV),
            "crashed",
            "SIGSEGV",
            "Segmentation fault",
        ),
        (ProcessEnd(Phase.BUILD, status=signal.SIGABRT | 0x80), "crashed", "SIGABRT", "Aborted"),
        (ProcessEnd(Phase.BUILD, status=signal.SIGKILL), "crashed", "SIGKILL", "Killed"),
        (ProcessEnd(Phase.BUILD, status=40), "crashed", "signal 40", "40"),
        (
            ProcessEnd(Phase.BUILD, status=exited(0)),
            "crashed",
            "exit code 0",
            "before it gave a result",
        ),
        (ProcessEnd(Phase.BUILD, status=exited(9)), "crashed", "exit code 9", "code 9"),
        (
            ProcessEnd(Phase.BUILD, status=exited(EXIT_NO_PIPE)),
            "failed",
            "ResultPipeClosed",
            "closed the pipe",
        ),
        (ProcessEnd(Phase.BUILD, status=exited(0), stray=b"oh"), "failed", "UnusableResult", "oh"),
        (
            ProcessEnd(Phase.BUILD, status=exited(9), stray=b"oh"),
            "crashed",
            "exit code 9",
            "code 9",
        ),
        (
            ProcessEnd(Phase.BUILD, status=signal.SIGKILL, out_of_memory=True),
            "oom",
            "SIGKILL",
            "host memory",
        ),
        (
            ProcessEnd(Phase.BUILD, status=signal.SIGSEGV, out_of_memory=True),
            "crashed",
            "SIGSEGV",
            "fault",
        ),
        (
            ProcessEnd(Phase.BUILD, status=signal.SIGKILL, cause=TIMEOUT),
            "timeout",
            "Timeout",
            "too long",
        ),
        (ProcessEnd(Phase.BUILD, died="it fell"), "lost", "ForkServerDied", "it fell"),
        (ProcessEnd(Phase.BUILD, died="it fell", cause=TIMEOUT), "timeout", "Timeout", "too long"),
    ],
)
def test_an_ending_without_an_answer(
    attempt: Attempt, ending: ProcessEnd, outcome: str, kind: str, says: str
) -> None:
    """Outcome, kind and words; the phase and the log named; the attempt's identity and fingerprint."""
    record = verdict(attempt, ending)
    assert record.error is not None
    assert (record.outcome, record.error.kind) == (outcome, kind)
    assert says in record.error.message
    assert record.error.message.endswith(", in phase build")
    assert record.error.log == f"logs/{record.trial_id}.log"
    assert (record.sweep_id, *record.key) == (attempt.sweep_id, *attempt.key)
    assert record.fingerprint == fingerprint(attempt, ENVIRONMENT)
    assert record.metrics is None


@pytest.mark.parametrize("cause", [None, TIMEOUT])
@pytest.mark.parametrize("status", [exited(0), signal.SIGSEGV, None])
def test_an_answer_that_arrived_whole_counts(
    attempt: Attempt, cause: Cause | None, status: int | None
) -> None:
    """Whatever came after it: the measurement was over."""
    record = verdict(attempt, ProcessEnd(Phase.DONE, answer(attempt), cause, status))
    assert record.outcome is Outcome.MISMATCH
    assert record.environment == {"match": ENVIRONMENT}
    assert record.error is not None
    assert record.error.log == f"logs/{record.trial_id}.log"


@pytest.mark.parametrize(
    "changes",
    [
        {"outcome": "splendid"},
        {"trial_id": "another"},
        {"attempt": 1},
        {"metrics": {"latency_ms": "fast"}},
        {"metrics": {"latency_ms": float("nan")}},
        {"surprise": 1},
        {"values_ms": None, "phase": 3},
    ],
)
def test_an_answer_that_is_no_record_of_this_attempt_is_refused(
    attempt: Attempt, changes: dict[str, object]
) -> None:
    """Another trial's, a field too many, a NaN: a failed row that says so."""
    record = verdict(attempt, ProcessEnd(Phase.DONE, answer(attempt, changes), None, exited(0)))
    assert record.outcome is Outcome.FAILED
    assert record.error is not None
    assert record.error.kind == "UnusableResult"


def test_what_a_worker_let_through_is_told_apart_by_memory(attempt: Attempt) -> None:
    """An exception is `failed`, one that means out-of-memory is `oom`."""
    for out_of_memory, outcome in ((False, Outcome.FAILED), (True, Outcome.OOM)):
        raised = {
            "raised": {"kind": "RuntimeError", "message": "x"},
            "out_of_memory": out_of_memory,
        }
        line = json.dumps(raised).encode()
        assert verdict(attempt, ProcessEnd(Phase.BUILD, line, None, exited(0))).outcome is outcome


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (b'{"phase": "verify"}', "phase"),
        (b'{"result": {}}', "answer"),
        (b'{"raised": {}}', "answer"),
        (b'{"value": {}}', "answer"),
        (b'{"phase": "lunch"}', "stray"),
        (b'{"phase": ["verify"]}', "stray"),
        (b"{}", "stray"),
        (b"[1]", "stray"),
        (b"", "stray"),
        (b"\xff\xfe", "stray"),
    ],
)
def test_lines_from_the_result_pipe_are_told_apart(line: bytes, kind: str) -> None:
    """A trial may write into any file that is open."""
    assert read_line(line)[0] == kind


CALL = Call("module:function", Resources(), Resources, "cpu", Resources())


@pytest.mark.parametrize(
    ("ending", "outcome", "says"),
    [
        (ProcessEnd(Phase.BUILD, status=signal.SIGSEGV), "crashed", "SIGSEGV"),
        (ProcessEnd(Phase.BUILD, status=signal.SIGKILL, cause=TIMEOUT), "timeout", "too long"),
        (ProcessEnd(Phase.BUILD, b'{"value": {"gpus": "many"}}'), "failed", "no Resources"),
        (
            ProcessEnd(
                Phase.BUILD,
                b'{"raised": {"kind": "E", "message": "full"}, "out_of_memory": true}',
            ),
            "oom",
            "full",
        ),
    ],
)
def test_a_call_that_returned_nothing_has_a_cause(
    ending: ProcessEnd, outcome: str, says: str
) -> None:
    """As an attempt's record would say it."""
    found = value_of_end(CALL, ending)
    assert isinstance(found, Cause)
    assert found.outcome == outcome
    assert says in found.message


def test_what_a_call_returned_has_its_own_type() -> None:
    """Whatever came after it."""
    ending = ProcessEnd(Phase.BUILD, b'{"value": {"gpus": 2}}', TIMEOUT, signal.SIGKILL)
    assert value_of_end(CALL, ending) == Resources(gpus=2)
