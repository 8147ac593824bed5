"""Chooses a table's columns and their headings: one rule for terminal, page and MLflow."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any

from orchestrator.formatting import axis_text, printable, shown
from orchestrator.results.meta import ShownMeta, SweepMeta
from orchestrator.results.results import Results
from orchestrator.results.rows import Row
from orchestrator.spec.axes import ACCELERATOR_NAME, Range
from orchestrator.usercode import registry, workloads
from orchestrator.workload import Workload


def known_workload(meta: SweepMeta) -> Workload | None:
    """The workload of a sweep that runs here, imported; None: it cannot be imported.

    Only for a sweep of one's own: it runs the file that the sweep names. Results of others are
    shown by `shown_of`, which does not.
    """
    try:
        return workloads.find(meta.spec.workload, meta.base_dir)
    except Exception:  # noqa: BLE001 - a user's file may raise anything at all when it is imported
        return None


def shown_by(workload: Workload, constants: Mapping[str, Any]) -> ShownMeta:
    """The columns and header of a workload, as they are stored with its results."""
    header: tuple[str, ...] = ()
    with suppress(Exception):  # a user's function: a failing header must not fail the sweep
        header = tuple(map(str, workload.header(constants)))
    columns = {name: str(text) for name, text in workload.columns.items()}
    return ShownMeta(columns=columns, header=header)


def shown_of(meta: SweepMeta) -> ShownMeta | None:
    """The columns and header stored with results; None: none are stored.

    It imports no file that the results name: they may come from somebody else. Sweeps of earlier
    versions stored nothing; then a workload that is registered here is asked.
    """
    if meta.shown is not None or meta.spec.workload not in registry.workloads():
        return meta.shown
    workload = known_workload(meta)
    if workload is None:
        return None
    return shown_by(workload, meta.spec.constants)


def column_headings(meta: SweepMeta) -> dict[str, str]:
    """Axis -> heading.

    The workload's columns, further axes that vary, and the model of accelerator if each trial is
    measured on several. Every axis, if the workload's columns are not known.
    """
    own = shown_of(meta)
    columns: dict[str, str] = {}
    if own is not None:
        columns |= own.columns
    for name in meta.spec.axes:
        if name not in columns and (own is None or _varies(name, meta)):
            columns[name] = name.removeprefix("options.").replace("_", " ").title()
    if meta.spec.resources.per_accelerator:
        columns[ACCELERATOR_NAME] = "Accelerator"
    return {name: printable(heading) for name, heading in columns.items()}


def _varies(name: str, meta: SweepMeta) -> bool:
    """Whether an axis has several values among the trials, or may get them."""
    axis = meta.spec.axes[name]
    if meta.spec.proposes:  # what is planned so far says nothing of what will be
        return isinstance(axis, Range) or len(axis) > 1
    return len({shown(trial.value(name)) for trial in meta.planned}) > 1


def columns(results: Results, rows: Sequence[Row]) -> dict[str, str]:
    """Axis -> heading, as in the sweep's table, of the axes whose values differ between `rows`."""
    differing = {}
    for name, heading in column_headings(results.meta).items():
        values = {shown(row.value(name)) for row in rows}
        if len(values) > 1:
            differing[name] = heading
    return differing


def value(row: Row, axis: str) -> str:
    """The value of an axis as text."""
    return printable(axis_text(axis, row.value(axis)))


def distinct(values: Mapping[str, Any], used: Collection[str], prefix: str) -> dict[str, Any]:
    """The values by name; a name that is already `used` becomes `<prefix>.<name>`."""
    found = {}
    for name, value in values.items():
        if name in used:
            name = f"{prefix}.{name}"
        found[name] = value
    return found
