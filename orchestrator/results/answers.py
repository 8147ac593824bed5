"""What a search or a frontier found, worked out from its rows alone."""

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

LIMITS = frozenset(
    {Outcome.OOM, Outcome.TIMEOUT}
)  # grow with a frontier's axis; other ends say nothing of what is larger


@dataclass(frozen=True)
class Answer:
    """One cell's answer.

    Attributes:
        implementation: its label.
        point: axis -> value, of the axes that were not asked after.
        best: the row that answers: of a frontier the largest that is ok, of a search the best; None: no row is ok.
        value: what the question asks for, there.
        beyond: of a frontier the next larger row that is not ok; None: the axis ends with `best`, or nothing was run.
        start: of a search the row of its first stated point, if that is ok.
        rows: every trial of the cell.
        settled: whether nothing is left to try.
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
        """Whether a frontier's cell is settled, and by nothing but limits and what the sweep allows."""
        fine = {Outcome.OK, *LIMITS, *allowed}
        return self.settled and self.best is not None and all(row.outcome in fine for row in self.rows)


def answers(meta: SweepMeta, rows: Iterable[Row]) -> list[Answer]:
    """One answer per cell that was begun, in the order of the rows; none for a grid."""
    if not meta.spec.proposes:
        return []
    statement = AxisValues(meta.spec, meta.only)
    places = {row.trial_id: (place, row) for place, row in enumerate(rows)}
    found = []
    for cell in meta.cells.values():
        own = [places[trial_id] for trial_id in cell.trials if trial_id in places]
        if own:
            point = statement.point(own[0][1].trial) if cell.point is None else cell.point
            found.append((min(place for place, _ in own), _answer(statement, point, [row for _, row in own])))
    return [answer for _, answer in sorted(found, key=lambda pair: pair[0])]


def metric(spec: SweepSpec) -> str:
    """The name of what is asked for: max_<axis> of a frontier, best_<metric> of a search."""
    if spec.frontier.axis is not None:
        return f"max_{spec.frontier.axis.removeprefix('options.')}"
    return f"best_{spec.search.metric}"


def annotated(meta: SweepMeta, rows: Sequence[Row]) -> list[Row]:
    """The rows, those that answer a search or a frontier with the answer among their metrics, once settled."""
    if not meta.spec.proposes:
        return list(rows)
    settled = [answer for answer in answers(meta, rows) if answer.settled]
    found = {answer.best.trial_id: answer.value for answer in settled if answer.best is not None}
    name = metric(meta.spec)
    return [
        replace(row, metrics={**row.metrics, name: found[row.trial_id]}) if row.trial_id in found else row
        for row in rows
    ]


def _answer(statement: AxisValues, point: Mapping[str, Any], rows: Sequence[Row]) -> Answer:
    spec = statement.spec
    best, value, beyond = _largest(spec, rows) if spec.frontier.axis is not None else (*_best(spec, rows), None)
    settled = all(row.outcome is not None for row in rows) and not _gap(statement, best, beyond)
    start = next((row for row in rows if row.ok and _is_first(spec, row)), None)
    return Answer(rows[0].implementation, point, best, value, beyond, start, tuple(rows), settled)


def _largest(spec: SweepSpec, rows: Sequence[Row]) -> tuple[Row | None, float | None, Row | None]:
    axis = str(spec.frontier.axis)
    ran = sorted((row for row in rows if row.outcome is not None), key=lambda row: float(row.trial.value(axis)))
    fitting = [index for index, row in enumerate(ran) if row.ok]
    last = fitting[-1] if fitting else -1
    beyond = ran[last + 1] if last + 1 < len(ran) else None
    return (None, None, beyond) if last < 0 else (ran[last], float(ran[last].trial.value(axis)), beyond)


def _gap(statement: AxisValues, best: Row | None, beyond: Row | None) -> bool:
    """Whether a frontier has values between the largest that is ok and what lies beyond, or above, left to probe."""
    axis = statement.spec.frontier.axis
    if axis is None or best is None or (beyond is not None and beyond.outcome not in LIMITS):
        return False
    low, high = best.trial.value(axis), None if beyond is None else beyond.trial.value(axis)
    between = (value for value in statement.spec.listed(axis) if value > low and (high is None or value < high))
    return any(statement.has_beside(best.trial, axis, value) for value in between)


def _best(spec: SweepSpec, rows: Sequence[Row]) -> tuple[Row | None, float | None]:
    name, sign = spec.search.metric, 1 if spec.search.least else -1
    known = [(sign * value, row) for row in rows if (value := row.metrics.get(name)) is not None]
    if not known:
        return None, None
    value, row = min(known, key=lambda pair: pair[0])
    return row, sign * value


def _is_first(spec: SweepSpec, row: Row) -> bool:
    first = spec.search.first[:1]
    return any(all(row.value(axis) == point.get(axis) for axis in spec.searched) for point in first)
