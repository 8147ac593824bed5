"""Which params head a table, and under what: one rule for the terminal, the page and MLflow."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any

from orchestrator.formatting import printable, shown
from orchestrator.results.meta import ShownMeta, SweepMeta
from orchestrator.results.results import Results
from orchestrator.results.rows import Row
from orchestrator.spec.models import Range
from orchestrator.usercode import registry, workloads
from orchestrator.workload import Workload


def known_workload(meta: SweepMeta) -> Workload | None:
    """The workload of a sweep that is running here, imported; None: it cannot be.

    For who runs the sweep. Results are shown by `shown_by`: they may come from a stranger.
    """
    try:
        return workloads.find(meta.spec.workload, meta.base_dir)
    except Exception:  # noqa: BLE001 - a user's file may raise anything at all when it is imported
        return None


def shown_by(workload: Workload, constants: Mapping[str, Any]) -> ShownMeta:
    """How a workload wants its results shown, as it is kept with them."""
    header: tuple[str, ...] = ()
    with suppress(Exception):  # a user's function, and the sweep need not fail for its table's heading
        header = tuple(str(line) for line in workload.header(constants))
    return ShownMeta(columns={name: str(text) for name, text in workload.columns.items()}, header=header)


def shown_of(meta: SweepMeta) -> ShownMeta | None:
    """How the results want to be shown, without importing any file that they name; None: they do not say.

    Sweeps of earlier versions do not. A workload that is registered here is no stranger's.
    """
    if meta.shown is not None or meta.spec.workload not in registry.workloads():
        return meta.shown
    workload = known_workload(meta)
    return None if workload is None else shown_by(workload, meta.spec.constants)


def column_headings(meta: SweepMeta) -> dict[str, str]:
    """Axis -> heading: the workload's columns, then the axes that vary beyond them (every axis where none is known)."""
    own = shown_of(meta)
    columns = {} if own is None else dict(own.columns)
    for name in meta.spec.axes:
        if name not in columns and (own is None or _varies(name, meta)):
            columns[name] = name.removeprefix("options.").replace("_", " ").title()
    return {name: printable(heading) for name, heading in columns.items()}


def _varies(name: str, meta: SweepMeta) -> bool:
    """Whether an axis has several values among the trials, or may yet have."""
    axis = meta.spec.axes[name]
    if meta.spec.proposes:
        return isinstance(axis, Range) or len(axis) > 1
    return len({shown(trial.value(name)) for trial in meta.planned}) > 1


def columns(results: Results, rows: Sequence[Row]) -> dict[str, str]:
    """Axis -> heading, as in the sweep's own table, of the axes whose values differ between `rows`."""
    headings = column_headings(results.meta)
    return {name: heading for name, heading in headings.items() if len({shown(row.value(name)) for row in rows}) > 1}


def value(row: Row, axis: str) -> str:
    """The value of an axis, as text."""
    return printable(shown(row.value(axis)))


def distinct(values: Mapping[str, Any], taken: Collection[str], prefix: str) -> dict[str, Any]:
    """The same values by name, those whose name is `taken` under `<prefix>.<name>`."""
    return {f"{prefix}.{name}" if name in taken else name: value for name, value in values.items()}
