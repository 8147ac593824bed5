"""A worker without torch: builds what `use` names, calls it once, and returns what it returned as a
metric.

What it lets through, the child's own last line of defence must catch.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from orchestrator.attempt_result import AttemptResult
from orchestrator.outcome import Outcome, Phase
from orchestrator.record import TrialRecord, fingerprint
from orchestrator.trial import Attempt, Resources


def load(use: str) -> Any:
    """The attribute that "path/to/file.py:attribute" names."""
    path, _, attribute = use.rpartition(":")
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, attribute)


def run_attempt(attempt: Attempt, on_phase: Callable[[Phase], None]) -> AttemptResult:
    """Build, call, answer."""
    started_at = datetime.now(UTC).isoformat()
    on_phase(Phase.BUILD)
    call = load(attempt.trial.use)(
        SimpleNamespace(**attempt.trial.params, options=attempt.trial.options)
    )
    on_phase(Phase.FIRST_CALL)
    value = call()
    on_phase(Phase.MEASURE)
    if isinstance(value, str):
        return value  # type: ignore[return-value]
    if isinstance(value, TrialRecord):
        return AttemptResult(record=value)
    record = TrialRecord.model_construct(
        schema_version=1,
        sweep_id=attempt.sweep_id,
        trial_id=attempt.trial.trial_id,
        implementation=attempt.trial.implementation,
        params=attempt.trial.params,
        options={},
        round=attempt.round,
        attempt=attempt.attempt,
        outcome=Outcome.OK,
        phase=Phase.DONE,
        flags=(),
        notes=(),
        error=None,
        metrics=value if isinstance(value, dict) else {"value": value},
        values_ms=None,
        fingerprint=fingerprint(attempt, {}),
        started_at=started_at,
        finished_at=datetime.now(UTC).isoformat(),
        host="",
        node="",
        device=attempt.device,
        environment={"match": {"device": "cpu"}},
    )
    return AttemptResult.model_construct(record=record)


def doubled(resources_json: str) -> Resources:
    """Twice the GPUs that it is given; none of 0 GPUs."""
    given = Resources.model_validate_json(resources_json)
    if not given.gpus:
        raise ValueError("nothing to double")
    return Resources(gpus=2 * given.gpus)
