"""Inside a trial's own process: build, call, verify, measure, verify again -> record. Never raises."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from orchestrator.duel_record import attempts, joined
from orchestrator.machine import environment
from orchestrator.outcome import Outcome, Phase
from orchestrator.record import ErrorInfo, TrialRecord, record_of, utc_now
from orchestrator.trial import Attempt
from orchestrator.usercode.implementation import AttemptEndedError, in_brief
from orchestrator.usercode.imported import imported_since
from orchestrator.worker.duel import duel
from orchestrator.worker.stages import Stages

OnPhase = Callable[[Phase], None]


def run_attempt(attempt: Attempt, on_phase: OnPhase = lambda _phase: None) -> TrialRecord:
    """Run one attempt in this process and say how it ended; `on_phase` hears of each phase as it
    begins.

    Whatever the implementation raises, SystemExit and KeyboardInterrupt included, is an outcome,
    and its traceback goes to stderr, which is the trial's log. Only the end of the process itself
    leaves no record. The record's environment says what code was imported for it.
    """
    before = frozenset(sys.modules)
    record = _run(attempt, on_phase)
    with suppress(Exception):  # modules are what users put into sys.modules
        record.environment["imported"] = imported_since(before, attempt.base_dir)
    return record


def _run(attempt: Attempt, on_phase: OnPhase) -> TrialRecord:
    reached: list[Phase] = []

    def enter(phase: Phase) -> None:
        reached.append(phase)
        on_phase(phase)

    started_at = utc_now()
    facts = environment.describe(
        attempt.device, attempt.resources.gpu_memory_gib, attempt.resources.cpus
    )
    try:
        enter(Phase.BUILD)
        if attempt.rival is not None:
            return _of_duel(attempt, enter, started_at, facts)
        if attempt.resources.ranks > 1:
            from orchestrator.worker import ranks

            fields = ranks.run(attempt, enter)
        else:
            fields = Stages(attempt, enter).to_end()
        enter(Phase.DONE)
    except AttemptEndedError as ended:
        fields = _ended(ended)
    except BaseException as error:  # noqa: BLE001 - a trial that fails is a row with a reason, whatever the reason
        _log(error)
        fields = {
            "outcome": Outcome.FAILED,
            "error": ErrorInfo.of(type(error).__name__, in_brief(error)),
        }
    return _record(attempt, reached[-1], started_at, facts, fields)


def _of_duel(
    attempt: Attempt, enter: OnPhase, started_at: str, facts: Mapping[str, Any]
) -> TrialRecord:
    """The records of both sides, joined."""
    records = []
    for own, side in zip(attempts(attempt), duel(attempt, enter), strict=True):
        assert side.end is not None
        fields = _ended(side.end) if isinstance(side.end, AttemptEndedError) else side.end
        records.append(_record(own, side.phase, started_at, facts, fields))
    enter(Phase.DONE)
    return joined(*records)


def _ended(ended: AttemptEndedError) -> dict[str, Any]:
    _log(ended)
    return {"outcome": ended.outcome, "error": ErrorInfo.of(ended.kind, ended.message)}


def _record(
    attempt: Attempt,
    phase: Phase,
    started_at: str,
    facts: Mapping[str, Any],
    fields: Mapping[str, Any],
) -> TrialRecord:
    known = {
        "environment": {**facts, **fields.get("environment", {})},
        "card": facts["know"].get("gpu_uuid"),
    }
    return record_of(
        attempt, phase=phase, started_at=started_at, match=facts["match"], **{**fields, **known}
    )


def _log(error: BaseException) -> None:
    """The traceback, where the implementation raised; a verdict of ours says where by itself."""
    with suppress(Exception):  # stderr may be closed, the exception may not print
        if isinstance(error, AttemptEndedError) and error.__cause__ is None:
            sys.stderr.write(f"{error}\n")
        else:
            traceback.print_exception(
                error.__cause__ if isinstance(error, AttemptEndedError) else error
            )
