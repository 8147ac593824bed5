"""Results as one JSON object: what `run --json` prints."""

from __future__ import annotations

from collections import Counter
from typing import Any

from orchestrator.report.answer_table import as_objects
from orchestrator.report.layout import Layout
from orchestrator.results.results import Results
from orchestrator.results.rows import Row


def as_object(results: Results) -> dict[str, Any]:
    """The sweep's identity, its count of rows by outcome, and its rows in table order, as JSON."""
    outcomes = Counter(_outcome(row) for row in results.rows)
    return {
        "sweep_id": results.meta.sweep_id,
        "name": results.meta.name,
        "device": results.meta.device,
        "directory": str(results.directory) if results.directory else None,
        "ok": results.all_ok,
        "outcomes": dict(outcomes),
        "answers": as_objects(Layout.of(results)),
        "rows": [_row(row) for row in results.rows],
    }


def _row(row: Row) -> dict[str, Any]:
    return {
        "trial_id": row.trial_id,
        "implementation": row.implementation,
        "params": dict(row.params),
        "options": dict(row.trial.options),
        "outcome": _outcome(row),
        "flags": list(row.flags),
        "metrics": dict(row.metrics) or None,
        "error": row.error.model_dump() if row.error else None,
        "attempts": row.attempts,
        "log": row.log,
        "reused_from": row.reused_from or None,
    }


def _outcome(row: Row) -> str:
    return str(row.outcome) if row.outcome else "not_run"
