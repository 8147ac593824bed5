"""The figure of each row over time: points of every sweep that measured it, by the index."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from orchestrator.errors import ExpressionError, RequestError, suggestion
from orchestrator.formatting import shown
from orchestrator.history.index import Entry, Index
from orchestrator.machine.environment import commit_of
from orchestrator.outcome import DISTURBED, UNRANKED, Outcome
from orchestrator.spec.expression import check, condition
from orchestrator.trial import content_hash

LATENCY = "latency_ms"
AT_ONCE = 500  # trials in one query

POINTS = (
    "SELECT trial, sweep, outcome, flags, source, environment, card, reused_from, finished, "
    "latency, low, high, names, figures FROM row "
)


@dataclass(frozen=True)
class Point:
    """A row of one sweep.

    Attributes:
        at: seconds since 1970.
        value: the figure; None: the row is not ok, or lacks it.
        low, high: its 95 % interval; None: it has none.
        outcome: how the row ended.
        disturbed: whether it was contended or throttled.
        ranked: whether it may be on a level: neither disturbed nor only screened by a search.
        group: of the sweep's points that may be held against each other: one machine, one way to
            measure.
        model: of the device; "": not known.
        machine: `NVIDIA H100 80GB HBM3 GPU-5d...`.
        source: hash of the source code.
    """

    sweep: Entry
    at: float
    value: float | None
    low: float | None
    high: float | None
    outcome: str
    disturbed: bool
    ranked: bool
    flags: str
    group: str
    model: str
    machine: str
    environment: str
    source: str
    commit: str


@dataclass(frozen=True)
class Series:
    """One row over time.

    Attributes:
        params: by name, options as options.<name>.
        points: in the order of time.
    """

    trial_id: str
    implementation: str
    params: Mapping[str, Any]
    points: Sequence[Point] = field(default_factory=tuple)


def read(
    index: Index,
    metric: str = LATENCY,
    implementation: str | None = None,
    where: str | None = None,
) -> list[Series]:
    """A series for every row that is asked for; a row that was reused counts once.

    Args:
        index: of the results folder.
        metric: the figure.
        implementation: the label; None: every one.
        where: an expression over params, options and the label.

    Raises:
        RequestError: nothing is there, or there is no such implementation, metric or name.
    """
    trials = _trials(index, implementation, where)
    points = _Points(index, metric)
    for start in range(0, len(trials), AT_ONCE):
        part = list(trials)[start : start + AT_ONCE]
        marks = ", ".join("?" * len(part))
        for line in index.select(f"{POINTS} WHERE trial IN ({marks})", part):
            points.add(line)
    if metric != LATENCY and not points.known:
        near = suggestion(metric, [LATENCY, *sorted(points.names)])
        raise RequestError(f"--metric: no row has {metric!r}{near}")
    found = []
    for number, (trial_id, label, params) in trials.items():
        own = points.of.get(number, [])
        own.sort(key=lambda point: (point.at, point.sweep.sweep_id))
        if own:
            found.append(Series(trial_id, label, params, tuple(own)))
    return found


def axes(series: Iterable[Series]) -> list[str]:
    """The params whose values tell the rows apart, in their order.

    Lists, such as segments that follow from a length, only where the others do not suffice.
    """
    rows = list(series)
    names: dict[str, None] = {}  # a set that keeps the order
    for row in rows:
        names |= dict.fromkeys(row.params)
    varying: list[str] = []
    without_lists: list[str] = []
    for name in names:
        values = [row.params.get(name) for row in rows]
        if len(set(map(shown, values))) > 1:
            varying.append(name)
            if not any(isinstance(value, list | tuple) for value in values):
                without_lists.append(name)
    points = set()
    for row in rows:
        values = [shown(row.params.get(name)) for name in without_lists]
        points.add((row.implementation, *values))
    if len(points) == len(rows):  # these alone tell the rows apart
        return without_lists
    return varying


Named = tuple[str, str, dict[str, Any]]


def _trials(index: Index, implementation: str | None, where: str | None) -> dict[int, Named]:
    """Number of a trial -> its id, label and params, of those that are asked for."""
    every: dict[int, Named] = {}
    for number, trial_id, label, params, options in index.select("SELECT * FROM trial"):
        values = json.loads(params)
        for name, value in json.loads(options).items():
            values[f"options.{name}"] = value
        every[number] = (trial_id, label, values)
    labels = sorted({label for _, label, _ in every.values()})
    if not every:
        raise RequestError(
            f"no sweeps under {index.folder}: history is of the sweeps that were run here, or "
            "came by import"
        )
    if implementation is not None:
        if implementation not in labels:
            near = suggestion(implementation, labels)
            raise RequestError(f"--implementation: no sweep here has {implementation!r}{near}")
        every = {number: trial for number, trial in every.items() if trial[1] == implementation}
    if where is None:
        return every
    return _chosen(every, where, labels)


def _chosen(every: Mapping[int, Named], where: str, labels: list[str]) -> dict[int, Named]:
    """Those of the trials for which the expression `where` holds."""
    names = {"implementation"}
    for _, _, params in every.values():
        names |= params.keys()
    check(where, names, {"implementation": labels})
    chosen = {}
    for number, (trial_id, label, params) in every.items():
        try:
            holds = condition(where, {**params, "implementation": label})
        except ExpressionError:
            continue  # it compares what this trial lacks
        if holds:
            chosen[number] = (trial_id, label, params)
    if not chosen:
        raise RequestError(f"--where {where}: no row of {len(every)} is so")
    return chosen


class _Points:
    """Makes points of the index's lines."""

    def __init__(self, index: Index, metric: str) -> None:
        self._index = index
        self._metric = metric
        self._words = index.words()
        self._sweeps = index.sweeps()
        self._ids = {entry.sweep_id for entry in self._sweeps.values()}
        self._asked = {number: content_hash(entry.asked) for number, entry in self._sweeps.items()}
        self._facts: dict[tuple[int, int], tuple[str, str]] = {}
        self.of: dict[int, list[Point]] = {}
        self.names: set[str] = set()
        self.known = False

    def add(self, line: Sequence[Any]) -> None:
        trial, sweep, outcome, flags, source, environment, card, reused_from, finished = line[:9]
        entry, words = self._sweeps.get(sweep), self._words
        if entry is None or words[reused_from] in self._ids:
            return
        value, low, high = self._figure(line)
        self.known = self.known or value is not None
        model, commit = self._machine(sweep, environment)
        given = frozenset(words[flags].split())
        self.of.setdefault(trial, []).append(
            Point(
                entry, finished, value, low, high, words[outcome],
                not DISTURBED.isdisjoint(given), UNRANKED.isdisjoint(given), words[flags],
                f"{environment} {card} {self._asked[sweep]}",
                model, f"{model} {words[card]}".strip(), words[environment], words[source], commit,
            )
        )  # fmt: skip

    def _figure(self, line: Sequence[Any]) -> tuple[float | None, float | None, float | None]:
        """The metric's value and its interval, which only the latency has."""
        if self._words[line[2]] != Outcome.OK:
            return None, None, None
        if self._metric == LATENCY:
            return line[9], line[10], line[11]
        names = _names(self._words[line[12]])
        self.names |= names.keys()
        place = names.get(self._metric)
        if place is None:
            return None, None, None
        return json.loads(line[13])[place], None, None

    def _machine(self, sweep: int, environment: int) -> tuple[str, str]:
        """Model of the device, and the commit of the user's code, or else of the harness."""
        key = (sweep, environment)
        if key not in self._facts:
            match, know = self._index.environment(sweep, self._words[environment])
            model = str(match.get("model") or match.get("device") or "")
            self._facts[key] = (model, commit_of(know))
        return self._facts[key]


@lru_cache(maxsize=256)  # few lists of names, and one for each of many rows
def _names(text: str) -> dict[str, int]:
    """Metric -> its place among the figures of a row."""
    return {name: place for place, name in enumerate(json.loads(text))}
