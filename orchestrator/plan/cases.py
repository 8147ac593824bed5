"""Turns cases into axes that move together: one axis per column, the case's name among them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from orchestrator.errors import Problem, SweepFileError
from orchestrator.spec import cases
from orchestrator.spec.axes import CASE_NAME, CasesSpec
from orchestrator.spec.cases import Row
from orchestrator.spec.document import Document
from orchestrator.spec.models import SweepSpec
from orchestrator.spec.params import param_defaults, param_names
from orchestrator.usercode.workload_file import FileWorkload
from orchestrator.workload import Workload


def with_cases(spec: SweepSpec, document: Document, workload: Workload, base_dir: str) -> SweepSpec:
    """The sweep with its cases as axes, before the axes that the file states.

    A sweep file without cases gets the workload's own, unless the file states one of their params.
    A param that a row leaves out gets the sweep's constant in that row, else its default.

    Raises:
        SweepFileError: the file of cases cannot be read, or a row breaks a rule (file and line).
    """
    stated = spec.cases or _of_workload(workload)
    if stated is None:
        return spec
    if stated.file is not None:
        shown = stated.file
        rows = cases.read(Path(base_dir) / stated.file, shown)
    elif spec.cases is None:  # the workload's own: no line of the sweep file has them
        shown = f"cases of {spec.workload}"
        rows = [Row(dict(case), number) for number, case in enumerate(stated.rows or [], start=1)]
    else:
        shown = document.name
        rows = []
        for index, case in enumerate(stated.rows or []):
            line = _line(document, index)
            rows.append(Row(dict(case), line))
    if spec.cases is None and _states_one(spec, rows):
        return spec
    if stated.columns is not None:
        rows = cases.picked(rows, shown, stated.columns)
    cases.check(rows, shown, param_names(workload))
    defaults = param_defaults(workload) | spec.constants
    kept = cases.chosen(rows, shown, stated.every, stated.where, defaults)
    if not kept:
        raise document.refusal(("cases",), f"no case is left of {len(rows)}", stated.where)
    names: dict[str, None] = {}  # a set that keeps the order
    for row in kept:
        names |= dict.fromkeys(row.values)
    columns: dict[str, list[Any]] = {}
    for name in names:
        columns[name] = [_value(row, name, shown, defaults) for row in kept]
    _refuse_stated_twice(spec, document, columns)
    document.case_columns = tuple(columns)
    document.case_places = tuple(f"{shown}:{row.line}" for row in kept)
    axes = {**columns, **spec.axes}
    together = spec.zip
    if len(columns) > 1:
        together = (*together, tuple(columns))
    return spec.model_copy(update={"axes": axes, "zip": together, "cases": stated})


def _of_workload(workload: Workload) -> CasesSpec | None:
    """The workload's own cases; None: it has none."""
    if not isinstance(workload, FileWorkload) or not workload.cases:
        return None
    if isinstance(workload.cases, Path):
        return CasesSpec(file=str(workload.cases))
    return CasesSpec(rows=[dict(case) for case in workload.cases])


def _states_one(spec: SweepSpec, rows: list[Row]) -> bool:
    """Whether the sweep file states a param that these cases state, too."""
    given = {*spec.axes, *spec.constants}
    for entry in spec.implementations:
        given.update(entry.params)
    return any(given.intersection(row.values) for row in rows)


def _line(document: Document, index: int) -> int:
    """The line of the case `index` in the sweep file."""
    for path in (("cases", index), ("cases", "rows", index), ("cases",)):
        if path in document.lines:
            return document.lines[path]
    return 1


def _value(row: Row, name: str, shown: str, defaults: dict[str, Any]) -> Any:
    if name in row.values:
        return row.values[name]
    if name not in defaults or name == CASE_NAME:
        rule = "this row does not state it, and it has no default"
        raise SweepFileError(shown, [Problem(name, rule, None, row.line)])
    return defaults[name]


def _refuse_stated_twice(
    spec: SweepSpec, document: Document, columns: dict[str, list[Any]]
) -> None:
    for name in columns:
        if name in spec.axes:
            raise document.refusal(("axes", name), f"the cases state {name} in each row: keep one")
        for index, entry in enumerate(spec.implementations):
            if name in entry.params:
                place = ("implementations", index, "params", name)
                raise document.refusal(place, f"the cases state {name} in each row: keep one")
