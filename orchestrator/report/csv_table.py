"""Writes results.csv: every row with every param, metric, flag and error."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping
from typing import Any

from orchestrator.metrics import LEADING, ROW_COLUMNS
from orchestrator.report.layout import Layout, outcome_of
from orchestrator.results import reused
from orchestrator.results.columns import distinct
from orchestrator.results.rows import Row

FORMULA = ("=", "+", "-", "@", "\t")


def csv_text(layout: Layout) -> str:
    """CSV with a header: one row per trial, numbers unrounded, lists as JSON, empty if missing."""
    origins = reused.columns(layout.rows)
    records = []
    names: dict[str, None] = {}  # a set that keeps the order
    for row in layout.rows:
        record = flat(layout, row) | origins.get(row.trial_id, {})
        names |= dict.fromkeys(record)
        records.append(record)
    return csv_of(names, records)


def csv_of(names: Iterable[str], records: Iterable[Mapping[str, Any]]) -> str:
    """CSV with a header: these columns, a line for each record, cells made `inert`."""
    stream, columns = io.StringIO(), list(names)
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    for record in records:
        writer.writerow([inert(record.get(name, "")) for name in columns])
    return stream.getvalue()


def flat(layout: Layout, row: Row) -> dict[str, Any]:
    """One row as plain values by name: a line of results.csv.

    A param named like a column of ours becomes `params.<name>`, a workload's own metric
    `metrics.<name>` (a sweep file with one is refused now; older journals may have it). Metrics
    that a row lacks are left out.
    """
    ours = {"outcome": outcome_of(row), "flags": " ".join(row.flags)}
    tail = _tail(layout, row)
    params = {}
    for name in (*layout.columns, *row.params):  # in the order of the table's columns
        if name in row.params:
            params[name] = row.params[name]
    options = {f"options.{name}": value for name, value in row.trial.options.items()}
    taken = {*ours, *tail, *LEADING, *row.metrics, "implementation"}
    named = distinct(params, taken, "params")
    figures = {name: row.metrics.get(name) for name in [*LEADING, *row.metrics]}
    metrics = distinct(figures, ROW_COLUMNS, "metrics")
    return {"implementation": row.implementation, **named, **options, **ours, **metrics, **tail}


def _tail(layout: Layout, row: Row) -> dict[str, Any]:
    """The columns at the right: what else the row says, and where it comes from."""
    kernels = {}
    if row.kernels:
        told = [f"{one.name} {one.share:.1%} ({one.count} x)" for one in row.kernels]
        kernels["kernels"] = "; ".join(told)
    error_kind = error_message = device = None
    if row.error is not None:
        error_kind, error_message = row.error.kind, row.error.message
    if row.records:
        device = row.records[0].device
    return kernels | {
        "notes": "; ".join(row.notes),
        "rounds": len(row.records),
        "repetitions": sum(map(len, row.rounds)),
        "attempts": row.attempts,
        "error_kind": error_kind,
        "error_message": error_message,
        "log": row.log,
        "device": device,
        "trial_id": row.trial_id,
        "sweep_id": layout.sweep_id,
    }


def inert(value: Any) -> Any:
    """A value as a cell: lists as JSON, text that no spreadsheet takes for a formula."""
    if value is None or isinstance(value, (int, float)):  # most cells are
        return value
    if isinstance(value, str):
        return _inert(value)
    if isinstance(value, (list, tuple, Mapping)):
        return json.dumps(value, ensure_ascii=False)
    return value


def _inert(text: str) -> str:
    """Text that a spreadsheet reads as text, and every reader as one cell.

    A leading apostrophe keeps a formula from being one. A carriage return would end the line for
    some readers, and Python's writer does not quote it before 3.13.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if not text.startswith(FORMULA) or _is_number(text):
        return text
    return f"'{text}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
