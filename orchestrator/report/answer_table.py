"""Tabulates the results of a search or a frontier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.formatting import NONE, interval, number, printable, shown
from orchestrator.outcome import Flag
from orchestrator.report.layout import Layout
from orchestrator.results.answers import LIMITS, Answer, answers, metric
from orchestrator.results.rows import latency
from orchestrator.spec.models import SearchSpec


@dataclass(frozen=True)
class AnswerTable:
    """Title, headings and cells, as text for any report.

    Attributes:
        texts: how many columns at the left are no figures.
    """

    title: str
    headings: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]
    texts: int

    @classmethod
    def of(cls, layout: Layout) -> AnswerTable | None:
        """The table of a sweep's results; None: it is a grid, or nothing was run."""
        found = answers(layout.results.meta, layout.rows)
        if not found:
            return None
        axes = []
        for axis in found[0].point:
            values = {shown(answer.point[axis]) for answer in found}
            if len(values) > 1:
                axes.append(axis)
        names = [_heading(layout, axis) for axis in axes]
        if layout.results.meta.spec.frontier.axis is not None:
            title, headings, cells = _frontier(layout, found)
        else:
            title, headings, cells = _search(layout, found)
        lines = []
        for answer, rest in zip(found, cells, strict=True):
            point = [shown(answer.point[axis]) for axis in axes]
            lines.append((printable(answer.implementation), *point, *rest))
        return cls(title, ("Implementation", *names, *headings), tuple(lines), 1 + len(axes))


def as_objects(layout: Layout) -> list[dict[str, Any]]:
    """The answers as JSON values."""
    meta = layout.results.meta
    axis = meta.spec.frontier.axis
    objects = []
    for answer in answers(meta, layout.rows):
        trial_id = options = memory = beyond = None
        if answer.best is not None:
            trial_id = answer.best.trial_id
            options = dict(answer.best.trial.options)
            memory = answer.best.metrics.get("peak_memory_mib")
        if answer.beyond is not None and axis is not None:
            outcome = str(answer.beyond.outcome)
            beyond = {"value": answer.beyond.value(axis), "outcome": outcome}
        described = {
            "implementation": answer.implementation,
            "point": dict(answer.point),
            "metric": metric(meta.spec),
            "value": answer.value,
            "trial_id": trial_id,
            "options": options,
            "peak_memory_mib": memory,
            "beyond": beyond,
            "trials": len(answer.rows),
            "settled": answer.settled,
        }
        objects.append(described)
    return objects


Cells = tuple[str, list[str], list[list[str]]]


def _frontier(layout: Layout, found: Sequence[Answer]) -> Cells:
    axis = str(layout.results.meta.spec.frontier.axis)
    heading = _heading(layout, axis)
    title = f"Largest {heading} that fits"
    cells = []
    for answer in found:
        line = [NONE, NONE, NONE]
        if answer.best is not None:
            metrics = answer.best.metrics
            line = [
                shown(answer.best.value(axis)),
                number(metrics.get("peak_memory_mib")),
                number(metrics.get("latency_ms")),
            ]
        cells.append([*line, _beyond(answer, axis)])
    return title, [f"Largest {heading}", "Memory (MB)", "Time (ms)", "Just beyond"], cells


def _beyond(answer: Answer, axis: str) -> str:
    if answer.beyond is None:
        return "the axis ends there" if answer.settled else "not settled"
    text = f"{shown(answer.beyond.value(axis))}: {answer.beyond.outcome}"
    if answer.beyond.outcome in LIMITS and not answer.settled:
        text += ", not settled"
    return text


def _search(layout: Layout, found: Sequence[Answer]) -> Cells:
    spec = layout.results.meta.spec
    headings = [_heading(layout, axis) for axis in spec.searched]
    starts = bool(spec.search.first)
    cells = []
    for answer in found:
        line = [_searched(answer, axis) for axis in spec.searched]
        line.append(_value(answer, spec.search.metric))
        if starts:
            line.append(_over_start(answer, spec.search.metric, spec.search.least))
        line.append(_trials(answer, spec.search))
        cells.append(line)
    figure = spec.search.metric
    headings.append("Time (ms)" if figure == "latency_ms" else printable(figure))
    if starts:
        # a first point that sets nothing is the implementation as it comes
        headings.append("Over the first point" if spec.search.first[0] else "Over the defaults")
    headings.append("Trials")
    return f"Best {figure} found by {spec.search.strategy}", headings, cells


def _searched(answer: Answer, axis: str) -> str:
    """The best value of a searched axis; "default" for an option that was not set."""
    if answer.best is None:
        return NONE
    value = answer.best.value(axis)
    if value is None and axis.startswith("options."):
        return "default"
    return shown(value)


def _value(answer: Answer, name: str) -> str:
    """The best value, with its flags."""
    if answer.best is None:
        return number(answer.value)
    metrics = answer.best.metrics
    text = number(answer.value, decimals=3)
    if name == "latency_ms":
        text = interval(*latency(metrics))
    flags = [printable(flag) for flag in answer.best.flags if flag != Flag.CUT]
    return f"{text} ({', '.join(flags)})" if flags else text


def _over_start(answer: Answer, name: str, least: bool) -> str:
    """How many times as good as the first point the best is."""
    if answer.start is None:
        return NONE
    start = answer.start.metrics.get(name)
    if not start or not answer.value:
        return NONE
    times_as_good = start / answer.value if least else answer.value / start
    return f"{times_as_good:.2f}x"


def _trials(answer: Answer, search: SearchSpec) -> str:
    """How many trials there were of how many at most, and how many without a result, by reason."""
    without = f"without {printable(search.metric)}"
    counts = dict.fromkeys(["only screened", "cut", "not ok", "not run", without], 0)
    for row in answer.rows:
        counts["only screened"] += row.is_screened
        counts["cut"] += Flag.CUT.value in row.flags
        if row.outcome is None:
            counts["not run"] += 1
        elif not row.ok:
            counts["not ok"] += 1
        elif row.metrics.get(search.metric) is None:
            counts[without] += 1
    parts = [str(len(answer.rows))]
    if len(answer.rows) < search.samples:
        parts = [f"{len(answer.rows)} of at most {search.samples}"]
    parts += [f"{count} {what}" for what, count in counts.items() if count]
    return ", ".join(parts)


def _heading(layout: Layout, axis: str) -> str:
    """The column's heading; of an axis without a column its name, as a title."""
    if axis in layout.columns:
        return layout.columns[axis]
    return printable(axis.removeprefix("options.").replace("_", " ").title())
