"""Reads how a process ended: its answer, or the record of an attempt that gave none."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError

from orchestrator.attempt_result import AttemptResult
from orchestrator.isolation.child import EXIT_NO_PIPE
from orchestrator.isolation.request import Call, Returned
from orchestrator.outcome import Outcome, Phase
from orchestrator.record import ErrorInfo, TrialRecord, log_of, record_of
from orchestrator.trial import Attempt

Environment = Callable[[], Mapping[str, Any]]


@dataclass(frozen=True)
class Cause:
    """Why a process ended without an answer that can be used."""

    outcome: Outcome
    kind: str
    message: str


@dataclass(frozen=True)
class ProcessEnd:
    """How an attempt's process ended, as seen from outside.

    Attributes:
        phase: the last one it reported.
        answer: its answer as received, a line of JSON; None: it gave none.
        cause: why the supervisor ended it; None: it ended by itself.
        status: its wait status; None: not known, the fork server died.
        out_of_memory: whether the kernel's OOM killer killed something meanwhile.
        died: what the fork server last printed, if it died.
        stray: the beginning of stray output: what came through the result pipe and is no message.
    """

    phase: Phase
    answer: bytes | None = None
    cause: Cause | None = None
    status: int | None = None
    out_of_memory: bool = False
    died: str = ""
    stray: bytes = b""


def result_of_end(
    attempt: Attempt, ending: ProcessEnd, started_at: str, environment: Environment
) -> AttemptResult:
    """The result of an attempt. An answer that arrived whole counts, whatever came after it.

    Args:
        attempt: what was run.
        ending: how it ended.
        started_at: when, as `utc_now` writes it.
        environment: returns the facts that must match, for the fingerprint of a record made here.
    """
    cause = ending.cause
    if ending.answer is not None:
        answer = _read(attempt, ending.answer)
        if isinstance(answer, AttemptResult):
            return answer.changed(_with_log)
        cause = answer
    if cause is None:
        cause = _own_end(ending)
    message = f"{cause.message}, in phase {ending.phase}"
    error = ErrorInfo.of(cause.kind, message, log_of(attempt.trial.trial_id))
    record = record_of(attempt, cause.outcome, ending.phase, started_at, environment(), error=error)
    return AttemptResult.of_end(attempt, record)


def result_of_parts(
    attempt: Attempt,
    parts: Sequence[bytes],
    ending: ProcessEnd,
    started_at: str,
    environment: Environment,
) -> AttemptResult:
    """The result of an attempt whose process reported the result of each of its trials by itself.

    Where the process ended before its last trial, the trial that it was at ended so. There is no
    record of the trials behind it. Arguments as of `result_of_end`.
    """
    alone = attempt.of_each_trial()
    results: list[AttemptResult] = []
    for own, part in zip(alone, parts, strict=False):
        answer = json.dumps({"result": json.loads(part)["part"]}).encode()
        reported = ProcessEnd(Phase.DONE, answer)
        results.append(result_of_end(own, reported, started_at, environment))
    if len(results) < len(alone):
        began = results[-1].record.finished_at if results else started_at
        results.append(result_of_end(alone[len(results)], ending, began, environment))
    first, *others = results
    records = tuple(result.record for result in others)
    imported = next((one.imported for one in reversed(results) if one.imported is not None), None)
    return first.model_copy(update={"others": records, "imported": imported})


def value_of_end(call: Call[Returned], ending: ProcessEnd) -> Returned | Cause:
    """What a call returned, or why it returned nothing."""
    if ending.answer is None:
        return ending.cause or _own_end(ending)
    answer = json.loads(ending.answer)
    if "value" not in answer:
        return _raised(answer)
    try:
        return call.returns.model_validate_json(json.dumps(answer["value"], allow_nan=False))
    except ValueError as exc:
        return _unusable(f"its result is no {call.returns.__name__}: {exc}")


def read_line(line: bytes) -> tuple[Literal["phase", "part", "answer", "stray"], dict[str, Any]]:
    """What a line of the result pipe is. A trial may write stray output into any open file."""
    try:
        message = json.loads(line)
    except ValueError:
        return "stray", {}
    if not isinstance(message, dict):
        return "stray", {}
    if message.get("phase") in list(Phase):
        return "phase", message
    if "part" in message:
        return "part", message
    if not {"result", "value", "raised"}.isdisjoint(message):
        return "answer", message
    return "stray", message


def answers_well(message: Mapping[str, Any]) -> bool:
    """Whether an answer is what a call returned, or the result of an attempt that ended ok."""
    if "value" in message:
        return True
    result = message.get("result")
    record = result.get("record") if isinstance(result, dict) else None
    return isinstance(record, dict) and record.get("outcome") == Outcome.OK


def _read(attempt: Attempt, line: bytes) -> AttemptResult | Cause:
    """The result in an answer, or why it holds none of this attempt."""
    try:
        answer = json.loads(line)
        if "result" not in answer:
            return _raised(answer)
        result = AttemptResult.model_validate_json(json.dumps(answer["result"], allow_nan=False))
    except (ValidationError, ValueError, TypeError, KeyError) as exc:
        return _unusable(f"its result is not a record: {exc}")
    asked = [(own.sweep_id, *own.key) for own in attempt.of_each_trial()]
    found = [(record.sweep_id, *record.key) for record in result.records]
    if found != asked:
        return _unusable(f"its result is of {found}, it was asked for {asked}")
    return result


def _raised(answer: Mapping[str, Any]) -> Cause:
    raised = answer["raised"]
    outcome = Outcome.OOM if answer["out_of_memory"] else Outcome.FAILED
    return Cause(outcome, raised["kind"], raised["message"])


def _unusable(message: str) -> Cause:
    return Cause(Outcome.FAILED, "UnusableResult", message)


def _own_end(ending: ProcessEnd) -> Cause:
    """Why a process ended without an answer, if the supervisor did not end it."""
    if ending.status is None:
        return Cause(Outcome.LOST, "ForkServerDied", ending.died)
    code = os.waitstatus_to_exitcode(ending.status)
    if code == -signal.SIGKILL and ending.out_of_memory:
        return Cause(Outcome.OOM, "SIGKILL", "the kernel killed it for want of host memory")
    if code < 0:
        name, message = _signal(-code)
        return Cause(Outcome.CRASHED, name, message)
    if code == 0 and ending.stray:
        text = (
            f"its result was lost among what the trial wrote into the same pipe, {ending.stray!r}"
        )
        return _unusable(text)
    if code == EXIT_NO_PIPE:
        text = (
            "it closed the pipe that its result goes through (os.closerange or the like); close "
            "only your own files"
        )
        return Cause(Outcome.FAILED, "ResultPipeClosed", text)
    return Cause(
        Outcome.CRASHED,
        f"exit code {code}",
        f"the process exited with code {code} before it gave a result",
    )


def _signal(number: int) -> tuple[str, str]:
    """A signal's name, and a sentence on it."""
    try:
        name = signal.Signals(number).name
    except ValueError:  # real-time signals have no name
        name = f"signal {number}"
    return name, f"the process died by {name} ({signal.strsignal(number) or number})"


def _with_log(record: TrialRecord) -> TrialRecord:
    """The record, with the log's path in its error if the worker left that out."""
    if record.error is None or record.error.log is not None:
        return record
    error = record.error.model_copy(update={"log": log_of(record.trial_id)})
    return record.model_copy(update={"error": error})
