"""From how an attempt's process ended to its record: what the supervisor says when the worker could not."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError

from orchestrator.isolation.child import EXIT_NO_PIPE
from orchestrator.outcome import Outcome, Phase
from orchestrator.record import ErrorInfo, TrialRecord, log_of, record_of
from orchestrator.trial import Attempt

Environment = Callable[[], Mapping[str, Any]]


@dataclass(frozen=True)
class Cause:
    """Why an attempt ended otherwise than by its own answer."""

    outcome: Outcome
    kind: str
    message: str


@dataclass(frozen=True)
class ProcessEnd:
    """How an attempt's process ended, as seen from outside.

    Attributes:
        phase: the last one it reported.
        answer: its answer as it came, a line of JSON; None: it gave none.
        cause: why the supervisor ended it; None: it ended by itself.
        status: its wait status; None: the fork server died and nobody knows.
        out_of_memory: the kernel killed something for want of memory meanwhile.
        died: what the fork server last said, when it died.
        scribble: the beginning of what came through the result pipe and was no line of ours.
    """

    phase: Phase
    answer: bytes | None = None
    cause: Cause | None = None
    status: int | None = None
    out_of_memory: bool = False
    died: str = ""
    scribble: bytes = b""


def record_of_end(attempt: Attempt, ending: ProcessEnd, started_at: str, environment: Environment) -> TrialRecord:
    """The record of an attempt that ended so. An answer that arrived whole counts, whatever came after it.

    Args:
        attempt: what was run.
        ending: how it ended.
        started_at: when, as `utc_now` says it.
        environment: asked for the fields that must match when the worker made no record; they go into its fingerprint.
    """
    cause = ending.cause
    if ending.answer is not None:
        answer = _read(attempt, ending.answer)
        if isinstance(answer, TrialRecord):
            return _with_log(answer)
        cause = answer
    return _record(attempt, ending.phase, cause or _own_end(ending), started_at, environment())


def read_line(line: bytes) -> tuple[Literal["phase", "answer", "scribble"], dict[str, Any]]:
    """What a line from the result pipe is; a trial may have written into a file that is not its own."""
    try:
        message = json.loads(line)
    except ValueError:
        return "scribble", {}
    if not isinstance(message, dict):
        return "scribble", {}
    if message.get("phase") in list(Phase):
        return "phase", message
    return ("answer" if "record" in message or "raised" in message else "scribble"), message


def answers_well(message: Mapping[str, Any]) -> bool:
    """Whether an answer is a record of an attempt that is ok."""
    record = message.get("record")
    return isinstance(record, dict) and record.get("outcome") == Outcome.OK


def _read(attempt: Attempt, line: bytes) -> TrialRecord | Cause:
    try:
        answer = json.loads(line)
        if "record" not in answer:
            return _raised(answer)
        record = TrialRecord.model_validate_json(json.dumps(answer["record"], allow_nan=False))
    except (ValidationError, ValueError, TypeError, KeyError) as exc:
        return Cause(Outcome.FAILED, "UnusableResult", f"its result is not a record: {exc}")
    if (record.sweep_id, *record.key) != (attempt.sweep_id, *attempt.key):
        return Cause(Outcome.FAILED, "UnusableResult", f"its result is of {record.key}, it was asked for {attempt.key}")
    return record


def _raised(answer: Mapping[str, Any]) -> Cause:
    raised = answer["raised"]
    return Cause(Outcome.OOM if answer["out_of_memory"] else Outcome.FAILED, raised["kind"], raised["message"])


def _own_end(ending: ProcessEnd) -> Cause:
    """What to make of a process that ended without an answer and that nobody here ended."""
    if ending.status is None:
        return Cause(Outcome.LOST, "ForkServerDied", ending.died)
    code = os.waitstatus_to_exitcode(ending.status)
    if code == -signal.SIGKILL and ending.out_of_memory:
        return Cause(Outcome.OOM, "SIGKILL", "the kernel killed it for want of host memory")
    if code < 0:
        return Cause(Outcome.CRASHED, *_signal(-code))
    if code == 0 and ending.scribble:
        text = f"its result was lost among what the trial wrote into the same pipe, {ending.scribble!r}"
        return Cause(Outcome.FAILED, "UnusableResult", text)
    if code == EXIT_NO_PIPE:
        text = "it closed the pipe that its result goes through (os.closerange or the like); close only your own files"
        return Cause(Outcome.FAILED, "ResultPipeClosed", text)
    return Cause(Outcome.CRASHED, f"exit code {code}", f"the process exited with code {code} before it gave a result")


def _signal(number: int) -> tuple[str, str]:
    try:
        name = signal.Signals(number).name
    except ValueError:  # real-time signals have no name
        name = f"signal {number}"
    return name, f"the process died by {name} ({signal.strsignal(number) or number})"


def _record(
    attempt: Attempt, phase: Phase, cause: Cause, started_at: str, environment: Mapping[str, Any]
) -> TrialRecord:
    error = ErrorInfo.of(cause.kind, f"{cause.message}, in phase {phase}", log_of(attempt.trial.trial_id))
    return record_of(attempt, cause.outcome, phase, started_at, environment, error=error)


def _with_log(record: TrialRecord) -> TrialRecord:
    """The record, its error naming the log to open where the worker left that out."""
    if record.error is None or record.error.log is not None:
        return record
    return record.model_copy(update={"error": record.error.model_copy(update={"log": log_of(record.trial_id)})})
