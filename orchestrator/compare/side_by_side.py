"""Puts sweeps side by side: a column for each sweep, device or commit, ratios to one. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.compare.comparison import both_ok
from orchestrator.compare.pairing import name_of
from orchestrator.errors import RequestError, suggestion
from orchestrator.machine.environment import commit_of, differences
from orchestrator.results.columns import column_headings, value
from orchestrator.results.results import Results
from orchestrator.results.rows import Row
from orchestrator.stats.ratio import Ratio, geometric_mean, ratio

BY = ("sweep", "device", "commit")
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Column:
    """What is held against the others.

    Attributes:
        label: a sweep's id, a device's model, or the first digits of a commit, with `+` where files
            were changed since: another code than the commit's, and another column.
        sweeps: ids of the sweeps that its rows are of.
        models: of the devices that they were measured on.
        unlike: facts that must match and differ from the column that ratios are to, each as
            "name: its value there, its value here".
    """

    label: str
    sweeps: tuple[str, ...]
    models: tuple[str, ...]
    unlike: tuple[str, ...] = ()


@dataclass(frozen=True)
class Line:
    """One row of the table.

    Attributes:
        row: of the first column that has it, for its label and values.
        cells: the row of each column; None: it has none.
        ratios: of each column to the one chosen, above 1 slower; None: not both have a time.
    """

    row: Row
    cells: tuple[Row | None, ...]
    ratios: tuple[Ratio | None, ...]


@dataclass(frozen=True)
class SideBySide:
    """The table.

    Attributes:
        by: what a column is.
        against: the index of the column that ratios are to.
        axes: axis -> heading, of those whose values tell the rows apart.
    """

    by: str
    columns: tuple[Column, ...]
    against: int
    axes: Mapping[str, str]
    lines: tuple[Line, ...]

    @property
    def means(self) -> dict[str, tuple[tuple[float, int] | None, ...]]:
        """Implementation -> per column the geometric mean of its ratios, and of how many."""
        ratios: dict[str, list[list[float]]] = {}  # of each implementation, by column
        for line in self.lines:
            own = ratios.setdefault(line.row.implementation, [[] for _ in self.columns])
            for values, found in zip(own, line.ratios, strict=True):
                if found is not None:
                    values.append(found.value)
        means = {}
        for label, columns in ratios.items():
            means[label] = tuple(_mean(values) for values in columns)
        return means


def _mean(ratios: Sequence[float]) -> tuple[float, int] | None:
    if not ratios:
        return None
    return geometric_mean(ratios), len(ratios)


@dataclass
class _Gathered:
    """A column while its rows are found; of rows of one name the newest of the best kind counts."""

    sweeps: dict[str, None] = field(default_factory=dict)
    models: dict[str, None] = field(default_factory=dict)
    environments: list[Mapping[str, Any]] = field(default_factory=list)
    rows: dict[str, Row] = field(default_factory=dict)


def side_by_side(
    sweeps: Sequence[Results], by: str = "sweep", against: str | None = None
) -> SideBySide:
    """Hold sweeps against each other; rows belong together by label, params and options.

    Nothing is refused for its environment: what differs from the chosen column is stated instead,
    and a ratio is then the hardware's and the software's as much as the code's. A row that one of
    these sweeps reused from another of them counts once, where it was measured: by sweep it is
    shown in both, without a ratio to itself.

    Args:
        sweeps: columns are in their order; of rows of one column the one measured last counts.
        by: one of BY: what a column is.
        against: label of the column that ratios are to, or its first letters; None: the first.

    Raises:
        RequestError: fewer than two columns, or none or several of that label.
    """
    gathered: dict[str, _Gathered] = {}
    first: dict[str, Row] = {}
    ids = {results.meta.sweep_id for results in sweeps}
    for results in sweeps:
        for row in results.rows:
            is_a_copy = by != "sweep" and row.reused_from in ids
            if row.outcome is None or is_a_copy:
                continue
            found = gathered.setdefault(_label(results, row, by), _Gathered())
            _add(found, results, row)
            first.setdefault(name_of(row), row)
    if len(gathered) < 2:
        named = ", ".join(gathered) or "none"
        raise RequestError(
            f"a table side by side wants two columns or more, and by {by} there is {named}: "
            "name more sweeps, or choose another --by"
        )
    chosen = _chosen(list(gathered), against)
    base = list(gathered.values())[chosen]
    lines = []
    for name, row in first.items():
        cells = [found.rows.get(name) for found in gathered.values()]
        ratios = [_ratio(cells[chosen], cell) for cell in cells]
        lines.append(Line(row, tuple(cells), tuple(ratios)))
    columns = []
    for label, found in gathered.items():
        sweep_ids, models = tuple(found.sweeps), tuple(found.models)
        columns.append(Column(label, sweep_ids, models, _unlike(base, found)))
    return SideBySide(by, tuple(columns), chosen, _axes(sweeps, lines), tuple(lines))


def _label(results: Results, row: Row, by: str) -> str:
    if by == "sweep":
        return results.meta.sweep_id
    facts = results.environments.get(row.records[-1].fingerprint.environment, {})
    if by == "device":
        return str(facts.get("match", {}).get("model") or UNKNOWN)
    return commit_of(facts.get("know", {}), digits=10) or UNKNOWN


def _add(found: _Gathered, results: Results, row: Row) -> None:
    facts = results.environments.get(row.records[-1].fingerprint.environment, {})
    match = facts.get("match", {})
    found.sweeps[results.meta.sweep_id] = None
    if match.get("model"):
        found.models[str(match["model"])] = None
    stated = {**match, **results.meta.spec.measure.facts(results.meta.device)}
    if stated not in found.environments:
        found.environments.append(stated)
    held = found.rows.get(name_of(row))
    if held is None or _weight(row) >= _weight(held):
        found.rows[name_of(row)] = row


def _weight(row: Row) -> tuple[int, str]:
    """Orders rows of one name: failed, then only screened, then timed; of equals by their end."""
    kind = 0
    if row.is_screened:
        kind = 1
    elif row.ok:
        kind = 2
    return kind, max(record.finished_at for record in row.records)  # ISO 8601 in UTC: as text


def _chosen(labels: Sequence[str], against: str | None) -> int:
    """The index of the column that ratios are to."""
    if against is None:
        return 0
    if against in labels:
        return labels.index(against)
    found = [label for label in labels if label.startswith(against)]
    if len(found) != 1:
        what = "several columns begin so" if found else "there is no such column"
        raise RequestError(f"--against {against}: {what}{suggestion(against, labels)}")
    return labels.index(found[0])


def _ratio(base: Row | None, other: Row | None) -> Ratio | None:
    """The ratio of two rows; None if one has no time, or both are the same measurement."""
    if base is None or other is None or not both_ok(base, other):
        return None
    if other is not base and _measured_by(other) == _measured_by(base):
        return None
    return ratio(base.rounds, other.rounds)


def _measured_by(row: Row) -> str:
    return row.reused_from or row.records[0].sweep_id


def _unlike(base: _Gathered, other: _Gathered) -> tuple[str, ...]:
    """In what the environments of `other` differ, each from the nearest one of `base`."""
    if base is other:
        return ()
    found: dict[str, None] = {}
    for facts in other.environments:
        of_each = [differences(was, facts) for was in base.environments]
        nearest = min(of_each, key=len)
        found |= dict.fromkeys(nearest)
    return tuple(found)


def _axes(sweeps: Sequence[Results], lines: Sequence[Line]) -> dict[str, str]:
    """Axis -> heading, of those that have several values in these lines."""
    headings: dict[str, str] = {}
    for results in sweeps:
        headings = column_headings(results.meta) | headings
    varying: dict[str, str] = {}
    for name, heading in headings.items():
        values = {value(line.row, name) for line in lines}
        if len(values) > 1:
            varying[name] = heading
    return varying
