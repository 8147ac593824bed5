"""One run per implementation: its figures along the sweep's widest axis, and its mean speed-up.

A chart of MLflow draws one line per run and names runs in its legend. Trials alone, one run each,
would give one entry per point and no line.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.outcome import DISTURBED, Outcome
from orchestrator.results.meta import SweepMeta
from orchestrator.results.rows import Row
from orchestrator.spec.axes import Range
from orchestrator.trackers.content import COLOUR, SOURCE, SPEEDUP, Frame, milliseconds
from orchestrator.trackers.description import shown
from orchestrator.trackers.run_content import RunContent, finite, legal
from orchestrator.util.quantities import is_number

IMPLEMENTATION = "implementation"
CHARTED = ("latency_ms", "peak_memory_mib", "throughput_tokens_per_s")
MAX_PANELS = 6  # charts per figure; a sweep's own page has a panel for every shape
POINTS = "points"


@dataclass(frozen=True)
class Panel:
    """One chart per figure: every implementation along an axis, the other axes at one value each.

    Attributes:
        along: the axis; None: no axis of numbers varies, and there is one figure per panel.
        at: axis -> value, of the other axes that vary.
    """

    along: str | None
    at: Mapping[str, Any]

    def metric(self, figure: str) -> str:
        """The figure's name here, which no trial's metric has: `latency_ms batch:2`."""
        at = [f"{name}:{shown(value)}" for name, value in self.at.items()]
        if not at:
            at = ["by", str(self.along)]
        return legal(" ".join([figure, *at]))

    def has(self, row: Row) -> bool:
        """Whether a row is a point of it."""
        return all(row.value(name) == value for name, value in self.at.items())


@dataclass(frozen=True)
class Curve:
    """A run of one implementation, and what its metrics were at each step.

    Attributes:
        content: the run; its tag `points` changes whenever a figure does.
        points: (metric, value, step).
    """

    content: RunContent
    points: Sequence[tuple[str, float, int]]


def panels(meta: SweepMeta, axes: Sequence[str]) -> list[Panel]:
    """The first MAX_PANELS panels of a grid; none where there is one shape, or trials are proposed.

    `axes` are those of the table.
    """
    varying = varying_axes(meta, axes)
    if meta.spec.proposes or not varying:
        return []
    along = widest(meta, varying)
    others = [name for name in varying if name != along]
    found: dict[str, Panel] = {}
    for trial in meta.planned:
        at = {name: trial.value(name) for name in others}
        found.setdefault(repr(at), Panel(along, at))
    return list(found.values())[:MAX_PANELS]


def curves(frame: Frame, found: Sequence[Row], ratios: Mapping[str, float]) -> Iterator[Curve]:
    """One for each implementation of which a row has ended; `ratios`: trial_id -> speed-up."""
    drawn = panels(frame.meta, list(frame.axes))
    if not drawn:
        return
    steps = _steps(frame.meta, drawn[0].along)
    for place, (label, colour) in enumerate(frame.colours.items()):
        mine = [row for row in found if row.implementation == label]
        if all(row.outcome is None for row in mine):
            continue
        points: set[tuple[str, float, int]] = set()
        for panel in drawn:
            points.update(_points(panel, mine, steps))
        ordered = sorted(points)
        ended = _content(frame, mine, ratios)
        tags = {
            **ended.tags,
            "row": f"0.{place:03}",  # before every trial's
            "implementation": label,
            COLOUR: colour,
            POINTS: hashlib.sha256(repr((ordered, ended.metrics)).encode()).hexdigest()[:16],
        }
        run = replace(ended, name=label, params={"implementation": label}, tags=tags)
        yield Curve(run, ordered)


def _content(frame: Frame, mine: Sequence[Row], ratios: Mapping[str, float]) -> RunContent:
    """Its totals: how many rows are ok and flagged, and the geometric mean of their speed-ups.

    A row that something else slowed down has no part in that mean.
    """
    meta = frame.meta
    counts_as_ok = {Outcome.OK, *meta.spec.allow_outcomes}
    ok = well = flagged = spent_ms = 0
    logarithms, ends = [], []
    for row in mine:
        flagged += bool(row.flags)
        well += row.outcome in counts_as_ok
        if row.ok:
            ok += 1
            if row.trial_id in ratios and not DISTURBED & set(row.flags):
                logarithms.append(math.log(ratios[row.trial_id]))
        for record in row.records:
            ended = milliseconds(record.finished_at)
            ends.append(ended)
            spent_ms += ended - milliseconds(record.started_at)
    mean = None
    if logarithms:
        mean = math.exp(sum(logarithms) / len(logarithms))
    start_ms = max(ends) - spent_ms  # as long as it was measured, without the waits between
    tags = {
        "kind": IMPLEMENTATION,
        "sweep_id": meta.sweep_id,
        "sweep": meta.name,
        "outcome": f"{ok} of {len(mine)} ok",
        "flags": f"{flagged} flagged" if flagged else "",
        **SOURCE,
    }
    status = "FINISHED" if well == len(mine) else "FAILED"
    metrics = finite({SPEEDUP: mean})
    return RunContent("", status, start_ms, max(ends), {}, metrics, tags)


def _points(
    panel: Panel, mine: Sequence[Row], steps: Mapping[Any, int]
) -> list[tuple[str, float, int]]:
    """The figures of a panel's rows, and the axis itself, by which the chart places them."""
    points = []
    for row in mine:
        if not panel.has(row):
            continue
        known = finite({panel.metric(name): row.metrics.get(name) for name in CHARTED})
        if not known:
            continue
        step = 0
        if panel.along is not None:
            place = row.value(panel.along)
            if place not in steps:
                continue
            step = steps[place]
            points.append((legal(panel.along), float(place), step))
        for name, value in known.items():
            points.append((name, value, step))
    return points


def _steps(meta: SweepMeta, along: str | None) -> dict[Any, int]:
    """The axis's numbers in ascending order, each with its place: MLflow's steps are integers."""
    if along is None:
        return {}
    values = set()
    for trial in meta.planned:
        value = trial.value(along)
        if is_number(value):
            values.add(value)
    return {value: step for step, value in enumerate(sorted(values))}


def varying_axes(meta: SweepMeta, axes: Sequence[str]) -> list[str]:
    """The axes that have more than one value in what is planned."""
    varying = []
    for name in axes:
        values = {repr(trial.value(name)) for trial in meta.planned}
        if len(values) > 1:
            varying.append(name)
    return varying


def widest(meta: SweepMeta, axes: Sequence[str]) -> str | None:
    """The axis that reaches the largest number, to draw figures along; None: none has numbers."""
    found, largest = None, -math.inf
    for name in axes:
        values = meta.spec.axes.get(name, [])
        if isinstance(values, Range):
            values = [values.low, values.high]
        numbers = [value for value in values if is_number(value)]
        if len(numbers) > 1 and max(numbers) > largest:
            found, largest = name, max(numbers)
    return found
