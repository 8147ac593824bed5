"""Which params head a table, and under what: one rule for the terminal, the page and MLflow."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from orchestrator.formatting import printable, shown
from orchestrator.results.meta import SweepMeta
from orchestrator.results.results import Results
from orchestrator.results.rows import Row
from orchestrator.spec.models import Range
from orchestrator.usercode import workloads
from orchestrator.workload import Workload


def known_workload(meta: SweepMeta) -> Workload | None:
    """The sweep's workload, or None: results can be shown where the file that defined them is not."""
    try:
        return workloads.find(meta.spec.workload, meta.base_dir)
    except Exception:  # noqa: BLE001 - a user's file may raise anything at all when it is imported
        return None


def column_headings(workload: Workload | None, meta: SweepMeta) -> dict[str, str]:
    """Axis -> heading: the workload's columns, then the axes that vary beyond them (every axis without a workload)."""
    columns = dict(workload.columns) if workload is not None else {}
    beyond = [name for name in meta.spec.axes if name not in columns]
    columns |= {
        name: name.removeprefix("options.").replace("_", " ").title()
        for name in beyond
        if workload is None or _varies(name, meta)
    }
    return {name: printable(heading) for name, heading in columns.items()}


def _varies(name: str, meta: SweepMeta) -> bool:
    """Whether an axis has several values among the trials, or may yet have."""
    axis = meta.spec.axes[name]
    if meta.spec.proposes:
        return isinstance(axis, Range) or len(axis) > 1
    return len({shown(trial.value(name)) for trial in meta.planned}) > 1


def columns(results: Results, rows: Sequence[Row]) -> dict[str, str]:
    """Axis -> heading, as in the sweep's own table, of the axes whose values differ between `rows`."""
    headings = column_headings(known_workload(results.meta), results.meta)
    return {name: heading for name, heading in headings.items() if len({shown(row.value(name)) for row in rows}) > 1}


def value(row: Row, axis: str) -> str:
    """The value of an axis, as text."""
    return printable(shown(row.value(axis)))


def distinct(values: Mapping[str, Any], taken: Collection[str], prefix: str) -> dict[str, Any]:
    """The same values by name, those whose name is `taken` under `<prefix>.<name>`."""
    return {f"{prefix}.{name}" if name in taken else name: value for name, value in values.items()}
