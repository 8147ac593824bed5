"""Inside a trial's own process: build, call, verify, measure, verify again. Never raises."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from orchestrator.attempt_result import AttemptResult
from orchestrator.machine import environment
from orchestrator.outcome import Phase
from orchestrator.record import TrialRecord, record_of, utc_now
from orchestrator.trial import Attempt
from orchestrator.usercode.imported import imported_since
from orchestrator.worker.duel import duel
from orchestrator.worker.stages import Stages
from orchestrator.worker.trial_end import TrialEnd

OnPhase = Callable[[Phase], None]


def run_attempt(attempt: Attempt, on_phase: OnPhase = lambda _phase: None) -> AttemptResult:
    """Run one attempt in this process and say how it ended; `on_phase` hears of each phase as it
    begins.

    Whatever the implementation raises, SystemExit and KeyboardInterrupt included, is an outcome,
    and its traceback goes to stderr, which is the trial's log. Only the end of the process itself
    leaves no result.
    """
    before = frozenset(sys.modules)
    started_at = utc_now()
    facts = environment.describe(
        attempt.device, attempt.resources.gpu_memory_gib, attempt.resources.cpus
    )
    if attempt.rival is None:
        phase, end = _of_trial(attempt, on_phase)
        record = record_with(attempt, phase, started_at, facts, end)
        result = AttemptResult(record=record, energy=end.energy)
    else:
        result = _of_pair(attempt, on_phase, started_at, facts)
    with suppress(Exception):  # modules are what users put into sys.modules
        imported = imported_since(before, attempt.base_dir)
        result = result.model_copy(update={"imported": imported})
    return result


def _of_trial(attempt: Attempt, on_phase: OnPhase) -> tuple[Phase, TrialEnd]:
    """The phase that the trial reached, and its end."""
    reached = [Phase.BUILD]

    def enter(phase: Phase) -> None:
        reached.append(phase)
        on_phase(phase)

    try:
        enter(Phase.BUILD)
        if attempt.resources.ranks > 1:
            from orchestrator.worker.distributed import ranks

            end = ranks.run(attempt, enter)
        else:
            end = Stages(attempt, enter).to_end()
        enter(Phase.DONE)
    except BaseException as error:  # noqa: BLE001 - a trial that fails is a row with a reason, whatever the reason
        end = TrialEnd.of_error(error)
    return reached[-1], end


def _of_pair(
    attempt: Attempt, on_phase: OnPhase, started_at: str, facts: Mapping[str, Any]
) -> AttemptResult:
    """The result of a paired comparison: the record of either trial."""
    on_phase(Phase.BUILD)
    records = []
    for own, side in zip(attempt.of_each_trial(), duel(attempt, on_phase), strict=True):
        assert side.end is not None
        records.append(record_with(own, side.phase, started_at, facts, side.end))
    on_phase(Phase.DONE)
    first, second = records
    return AttemptResult(record=first, second=second)


def record_with(
    attempt: Attempt, phase: Phase, started_at: str, facts: Mapping[str, Any], end: TrialEnd
) -> TrialRecord:
    """The record of an attempt that ended just now in this process.

    Args:
        attempt: what was run.
        phase: where it ended.
        started_at: when it began.
        facts: what `environment.describe` says of this machine.
        end: how it ended.
    """
    return record_of(
        attempt,
        end.outcome,
        phase,
        started_at,
        facts["match"],
        error=end.error,
        flags=end.flags,
        notes=end.notes,
        metrics=end.metrics,
        values_ms=end.values_ms,
        kernels=end.kernels,
        card=facts["know"].get("gpu_uuid"),
        environment=dict(facts),
    )
