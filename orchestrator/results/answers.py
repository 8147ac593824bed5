"""Derives the results of a search or a frontier from its rows alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from orchestrator.outcome import Outcome
from orchestrator.results.axis_values import AxisValues
from orchestrator.results.rows import Row
from orchestrator.spec.models import SweepSpec

if TYPE_CHECKING:
    from orchestrator.results.meta import SweepMeta

# These outcomes get likelier along a frontier's axis; others say nothing about larger values.
LIMITS = frozenset({Outcome.OOM, Outcome.TIMEOUT})


@dataclass(frozen=True)
class Answer:
    """The result of one cell.

    Attributes:
        implementation: its label.
        point: axis -> value, of the axes that are not searched.
        best: of a frontier the largest row that is ok, of a search the best; None: no row is ok.
        value: the value of the axis or the metric there.
        beyond: of a frontier the first larger row that is not ok; None: the axis ends with `best`,
            or nothing was run.
        start: of a search the row of its first stated point, if that is ok.
        rows: every trial of the cell.
        settled: whether the cell is complete: nothing is left to try.
    """

    implementation: str
    point: Mapping[str, Any]
    best: Row | None
    value: float | None
    beyond: Row | None
    start: Row | None
    rows: tuple[Row, ...]
    settled: bool

    def is_good(self, allowed: Iterable[str]) -> bool:
        """Whether a frontier's cell is complete, and ended only by limits and allowed outcomes."""
        if not self.settled or self.best is None:
            return False
        fine = {Outcome.OK, *LIMITS, *allowed}
        return all(row.outcome in fine for row in self.rows)


def answers(meta: SweepMeta, rows: Iterable[Row]) -> list[Answer]:
    """One result per cell that has rows, in the order of the rows; none for a grid."""
    if not meta.spec.proposes:
        return []
    statement = AxisValues(meta.spec, meta.only)
    by_id: dict[str, Row] = {}
    places: dict[str, int] = {}
    for place, row in enumerate(rows):
        by_id[row.trial_id] = row
        places[row.trial_id] = place
    found = []
    for cell in meta.cells.values():
        own = [by_id[trial_id] for trial_id in cell.trials if trial_id in by_id]
        if not own:
            continue
        point = cell.point
        if point is None:
            point = statement.point(own[0].trial)
        found.append(_answer(statement, point, own))

    def first_place(answer: Answer) -> int:
        return min(places[row.trial_id] for row in answer.rows)

    return sorted(found, key=first_place)


def metric(spec: SweepSpec) -> str:
    """The name of the result: max_<axis> of a frontier, best_<metric> of a search."""
    if spec.frontier.axis is not None:
        return f"max_{spec.frontier.axis.removeprefix('options.')}"
    return f"best_{spec.search.metric}"


def annotated(meta: SweepMeta, rows: Sequence[Row]) -> list[Row]:
    """The rows; the best row of each complete cell has the result among its metrics."""
    if not meta.spec.proposes:
        return list(rows)
    found = {}
    for answer in answers(meta, rows):
        if answer.settled and answer.best is not None:
            found[answer.best.trial_id] = answer.value
    name = metric(meta.spec)
    with_results = []
    for row in rows:
        if row.trial_id in found:
            metrics = {**row.metrics, name: found[row.trial_id]}
            with_results.append(replace(row, metrics=metrics))
        else:
            with_results.append(row)
    return with_results


def _answer(statement: AxisValues, point: Mapping[str, Any], rows: Sequence[Row]) -> Answer:
    spec = statement.spec
    beyond = None
    if spec.frontier.axis is not None:
        best, value, beyond = _largest(spec, rows)
    else:
        best, value = _best(spec, rows)
    ran = all(row.outcome is not None for row in rows)
    start = None
    for row in rows:
        if row.ok and _is_first(spec, row):
            start = row
            break
    return Answer(
        implementation=rows[0].implementation,
        point=point,
        best=best,
        value=value,
        beyond=beyond,
        start=start,
        rows=tuple(rows),
        settled=ran and not _gap(statement, best, beyond),
    )


def _largest(spec: SweepSpec, rows: Sequence[Row]) -> tuple[Row | None, float | None, Row | None]:
    """The largest row that is ok, its value, and the next row, which is not ok."""
    axis = str(spec.frontier.axis)
    ran = [row for row in rows if row.outcome is not None]
    ran.sort(key=lambda row: float(row.trial.value(axis)))
    best: Row | None = None
    value: float | None = None
    beyond: Row | None = None
    for row in ran:
        if row.ok:
            best, value, beyond = row, float(row.trial.value(axis)), None
        elif beyond is None:
            beyond = row
    return best, value, beyond


def _gap(statement: AxisValues, best: Row | None, beyond: Row | None) -> bool:
    """Whether a frontier still has values to probe between the largest that fits and the next."""
    axis = statement.spec.frontier.axis
    if axis is None or best is None:
        return False
    if beyond is not None and beyond.outcome not in LIMITS:
        return False  # why it failed says nothing of the values between
    low = best.trial.value(axis)
    for value in statement.spec.listed(axis):
        is_between = value > low and (beyond is None or value < beyond.trial.value(axis))
        if is_between and statement.has_neighbour(best.trial, axis, value):
            return True
    return False


def _best(spec: SweepSpec, rows: Sequence[Row]) -> tuple[Row | None, float | None]:
    """The row with the best metric, and that metric; of those that were measured by themselves."""
    best: Row | None = None
    best_value: float | None = None
    for row in rows:
        value = row.metrics.get(spec.search.metric)
        if value is None or row.is_screened:
            continue
        if best_value is None:
            is_better = True
        elif spec.search.least:
            is_better = value < best_value
        else:
            is_better = value > best_value
        if is_better:
            best, best_value = row, value
    return best, best_value


def _is_first(spec: SweepSpec, row: Row) -> bool:
    """Whether the row is of the search's first stated point."""
    if not spec.search.first:
        return False
    point = spec.search.first[0]
    return all(row.value(axis) == point.get(axis) for axis in spec.searched)
