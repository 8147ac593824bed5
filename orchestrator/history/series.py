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
        raise RequestError(
            f"--metric: no row has {metric!r}{suggestion(metric, [LATENCY, *sorted(points.names)])}"
        )
    found = []
    for number, (trial_id, label, params) in trials.items():
        own = sorted(points.of.get(number, []), key=lambda point: (point.at, point.sweep.sweep_id))
        if own:
            found.append(Series(trial_id, label, params, tuple(own)))
    return found


def axes(series: Iterable[Series]) -> list[str]:
    """The params whose values tell the rows apart, in their order.

    Lists, such as segments that follow from a length, only where the others do not suffice.
    """
    found = list(series)
    names: dict[str, None] = {}
    for one in found:
        names |= dict.fromkeys(one.params)
    telling: list[str] = []
    brief: list[str] = []
    for name in names:
        values = [one.params.get(name) for one in found]
        if len(set(map(shown, values))) > 1:
            telling.append(name)
            if not any(map(_is_list, values)):
                brief.append(name)
    return brief if len({_point(one, brief) for one in found}) == len(found) else telling


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _point(series: Series, names: Iterable[str]) -> tuple[str, ...]:
    return (series.implementation, *(shown(series.params.get(name)) for name in names))


Named = tuple[str, str, dict[str, Any]]


def _trials(index: Index, implementation: str | None, where: str | None) -> dict[int, Named]:
    """Number of a trial -> its id, label and params, of those that are asked for."""
    every: dict[int, Named] = {}
    for number, trial_id, label, params, options in index.select("SELECT * FROM trial"):
        given = {f"options.{name}": value for name, value in json.loads(options).items()}
        every[number] = (trial_id, label, {**json.loads(params), **given})
    labels = sorted({label for _, label, _ in every.values()})
    if not every:
        raise RequestError(
            f"no sweeps under {index.folder}: history is of the sweeps that were run here, or "
            "came by import"
        )
    if implementation is not None and implementation not in labels:
        raise RequestError(
            f"--implementation: no sweep here has {implementation!r}"
            f"{suggestion(implementation, labels)}"
        )
    if implementation is not None:
        every = {number: one for number, one in every.items() if one[1] == implementation}
    return every if where is None else _chosen(every, where, labels)


def _chosen(every: Mapping[int, Named], where: str, labels: list[str]) -> dict[int, Named]:
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
        if self._words[line[2]] != Outcome.OK:
            return None, None, None
        if self._metric == LATENCY:
            return line[9], line[10], line[11]
        names = _names(self._words[line[12]])
        self.names |= names.keys()
        place = names.get(self._metric)
        return (None if place is None else json.loads(line[13])[place]), None, None

    def _machine(self, sweep: int, environment: int) -> tuple[str, str]:
        """Model of the device, and the commit of the user's code, or else of the harness."""
        key = (sweep, environment)
        if key not in self._facts:
            match, know = self._index.environment(sweep, self._words[environment])
            model = str(match.get("model") or match.get("device") or "")
            self._facts[key] = (model, commit_of(know))
        return self._facts[key]


@lru_cache(maxsize=256)
def _names(text: str) -> dict[str, int]:
    return {name: place for place, name in enumerate(json.loads(text))}
