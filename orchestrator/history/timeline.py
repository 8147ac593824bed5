"""What happened to each row: steps of its level, changes of its environment; and what regressed."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.history.identity import changes as facts_changed
from orchestrator.history.index import Index
from orchestrator.history.series import LATENCY, Point, Series, axes, read
from orchestrator.machine.observation import WORDS
from orchestrator.outcome import Outcome
from orchestrator.stats.changes import changes, significance, threshold

LEAST_EFFECT = 0.01  # a smaller step is none
# (sweep, environment) before and after -> what differs between them
Differences = dict[tuple[tuple[int, str], tuple[int, str]], tuple[str, ...]]
BETTER_WHEN_LARGER = ("_per_s", "_share")


@dataclass(frozen=True)
class Step:
    """A change of level between two sweeps on one machine.

    Attributes:
        before, after: the last point on the old level and the first on the new.
        was, now: the levels.
        cause: `machine` if fixed pieces of work changed with the row, else `code` if the source
            changed there, else `unknown`.
        worse: whether the new level is the worse one.
        stands: whether no later step follows on that machine.
    """

    before: Point
    after: Point
    was: float
    now: float
    p_value: float
    cause: str
    worse: bool
    stands: bool

    @property
    def ratio(self) -> float:
        """The new level over the old."""
        return self.now / self.was

    @property
    def is_regression(self) -> bool:
        """Whether the code made the row worse, and it has stayed so."""
        return self.worse and self.stands and self.cause == "code"


@dataclass(frozen=True)
class EnvironmentChange:
    """Where a row's environment is another than at the point before: `driver: 1, now 2`."""

    before: Point
    after: Point
    facts: tuple[str, ...]


@dataclass(frozen=True)
class Timeline:
    """One row over time, judged.

    Attributes:
        failing_since: the first point of those at the end that are not ok, where one before them
            on a device of that model was; None: the row is ok on each model, or never was.
    """

    series: Series
    steps: tuple[Step, ...]
    environments: tuple[EnvironmentChange, ...]
    failing_since: Point | None

    @property
    def newly_failing(self) -> bool:
        """Whether the newest row on some model is not ok, and one before it there was."""
        return self.failing_since is not None


@dataclass(frozen=True)
class History:
    """Every row that was asked for.

    Attributes:
        metric: the figure.
        axes: params whose values tell the rows apart.
        sweeps: how many sweeps have any of the rows.
        alpha: up to which p-value a change was believed; 0: none was.
        unreadable: path and reason of sweeps that could not be read.
    """

    metric: str
    axes: tuple[str, ...]
    rows: tuple[Timeline, ...]
    sweeps: int
    alpha: float
    unreadable: tuple[tuple[str, str], ...] = ()

    @property
    def regressions(self) -> list[tuple[Timeline, Step]]:
        """The steps that the code made to the worse and that stand, the largest first."""
        found = [(row, step) for row, step in self._steps() if step.is_regression]

        def size(pair: tuple[Timeline, Step]) -> float:
            return abs(pair[1].ratio - 1)

        return sorted(found, key=size, reverse=True)

    @property
    def others(self) -> list[tuple[Timeline, Step]]:
        """The other steps that stand: better ones, and those that the code did not make."""
        found = []
        for row, step in self._steps():
            if step.stands and not step.is_regression:
                found.append((row, step))
        return found

    def _steps(self) -> Iterator[tuple[Timeline, Step]]:
        for row in self.rows:
            for step in row.steps:
                yield row, step


def history(
    index: Index,
    metric: str = LATENCY,
    implementation: str | None = None,
    where: str | None = None,
) -> History:
    """The rows that are asked for, with their steps; arguments and errors as of `series.read`.

    Rows that were contended, throttled or only screened are points of no level. Steps are looked
    for among points of one machine and one way to measure; of all that are believed one in a
    hundred is false.
    """
    every = read(index, metric, implementation, where)
    groups: list[tuple[Series, list[Point]]] = []
    for series in every:
        for group in _groups(series):
            groups.append((series, group))
    p_values = [significance(_values(group), len(groups)) for _, group in groups]
    alpha = threshold(p_values)
    steps: dict[str, list[Step]] = {}  # by trial
    for (series, group), p_value in zip(groups, p_values, strict=True):
        if p_value <= alpha:
            steps.setdefault(series.trial_id, []).extend(_steps(group, alpha, metric))
    known: Differences = {}
    rows = []
    sweeps: set[int] = set()
    for series in every:
        own = sorted(steps.get(series.trial_id, []), key=lambda step: step.after.at)
        environments = tuple(_environment_changes(index, series.points, known))
        rows.append(Timeline(series, tuple(own), environments, _failing_since(series.points)))
        sweeps.update(point.sweep.number for point in series.points)
    unreadable = tuple(index.unreadable())
    return History(metric, tuple(axes(every)), tuple(rows), len(sweeps), alpha, unreadable)


def _groups(series: Series) -> Iterable[list[Point]]:
    """Points that may be held against each other, in the order of time."""
    groups: dict[str, list[Point]] = {}
    for point in series.points:
        if point.value is not None and point.value > 0 and point.ranked:
            groups.setdefault(point.group, []).append(point)
    return groups.values()


def _values(points: Sequence[Point]) -> list[float]:
    return [point.value for point in points if point.value is not None]


def _steps(group: Sequence[Point], alpha: float, metric: str) -> list[Step]:
    """The changes of level that are large enough to count; the last of them stands."""
    found = changes(_values(group), alpha)
    large = [change for change in found if abs(change.ratio - 1) >= LEAST_EFFECT]
    starts = [0]  # of the levels, the small changes included
    starts += [change.at for change in found]
    starts.append(len(group))
    steps = []
    for number, change in enumerate(found, start=1):
        if change not in large:
            continue
        old = group[starts[number - 1] : change.at]
        new = group[change.at : starts[number + 1]]
        worse = change.ratio > 1
        if metric.endswith(BETTER_WHEN_LARGER):
            worse = change.ratio < 1
        cause = _cause(old, new, change.ratio)
        stands = change is large[-1]
        steps.append(
            Step(old[-1], new[0], change.before, change.after, change.p_value, cause, worse, stands)
        )
    return steps


def _cause(old: Sequence[Point], new: Sequence[Point], ratio: float) -> str:
    """`machine` where fixed pieces of work changed by half as much or more, the same way."""
    change = math.log(ratio)  # so that twice as long and half as long are equally far from 1
    for name in WORDS:
        was, now = _middles(old, name), _middles(new, name)
        if was and now:
            control = math.log(statistics.median(now) / statistics.median(was))
            if control * change > 0 and abs(control) >= abs(change) / 2:
                return "machine"
    if old[-1].source == new[0].source:
        return "unknown"
    return "code"


def _middles(points: Sequence[Point], control: str) -> list[float]:
    """The middle of what a control took in each sweep, in ms: the index keeps its ends alone."""
    middles = []
    for point in points:
        if control in point.sweep.controls:
            low, high = point.sweep.controls[control]
            middles.append(math.sqrt(low * high))
    return middles


def _environment_changes(
    index: Index, points: Sequence[Point], known: Differences
) -> Iterable[EnvironmentChange]:
    """Where the environment or the way to measure changes from a point to the next on a machine.

    `known` gets what differs between two of them: it is the same for every row of two sweeps.
    """
    last: dict[str, Point] = {}
    for point in points:
        before = last.get(point.machine)
        last[point.machine] = point
        if before is not None and before.group != point.group:
            here = (before.sweep.number, before.environment)
            there = (point.sweep.number, point.environment)
            if (here, there) not in known:
                was, _ = index.environment(*here)
                now, _ = index.environment(*there)
                facts = facts_changed(was, now)
                facts += facts_changed(before.sweep.asked, point.sweep.asked)
                known[here, there] = tuple(facts) or ("environment: changed",)
            yield EnvironmentChange(before, point, known[here, there])


def _failing_since(points: Sequence[Point]) -> Point | None:
    """The first point after the last that is ok, of the devices of one model.

    What never was ok on another model (a smaller GPU runs out of memory) fails since nothing. A row
    that is ok may lack the figure; where a model is not known all count as one.
    """
    of_model: dict[str, list[Point]] = {}
    are_known = all(point.model for point in points)
    for point in points:
        model = point.model if are_known else ""
        of_model.setdefault(model, []).append(point)
    found = []
    for known in of_model.values():
        ok = [place for place, point in enumerate(known) if point.outcome == Outcome.OK]
        if ok and ok[-1] < len(known) - 1:
            found.append(known[ok[-1] + 1])
    return min(found, key=lambda point: point.at, default=None)


def named(series: Series, names: Iterable[str]) -> dict[str, Any]:
    """The values of a row's axes."""
    return {name: series.params.get(name) for name in names}
