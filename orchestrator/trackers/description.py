"""Writes the table as the description of a sweep's run, as far as a tag has room."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.metrics import known
from orchestrator.results.answers import answers, metric
from orchestrator.results.meta import SweepMeta
from orchestrator.results.rows import Row
from orchestrator.trackers.run_content import MAX_TAG

FIGURES = ("latency_ms", "peak_memory_mib", "throughput_tokens_per_s")


def description(meta: SweepMeta, axes: Mapping[str, str], found: Sequence[Row]) -> str:
    """The table in Markdown, with as many rows as a tag holds; `axes`: axis -> heading.

    The results of a search or a frontier stand above it.
    """
    figures = []
    for name in FIGURES:
        if any(row.metrics.get(name) is not None for row in found):
            figures.append(name)
    headings = ["Implementation", *axes.values()]
    for name in figures:
        headings.append(known(name).heading)
    headings.append("Status")
    lines = [_line(headings), _line(["---"] * len(headings))]
    for row in found:
        values = [row.implementation]
        for name in axes:
            values.append(shown(row.value(name)))
        for name in figures:
            values.append(shown(row.metrics.get(name)))
        values.append(_status(row))
        lines.append(_line(values))
    return _fitting([heading(meta), "", *_answers(meta, axes, found)], lines)


def _answers(meta: SweepMeta, axes: Mapping[str, str], found: Sequence[Row]) -> list[str]:
    """The answers as a table, one line each, and an empty line; nothing of a grid."""
    given = answers(meta, found)
    if not given:
        return []
    varying = []
    for axis in axes:
        values_there = {repr(answer.point.get(axis)) for answer in given}
        if len(values_there) > 1:
            varying.append(axis)
    frontier = meta.spec.frontier.axis
    headings = ["Implementation"]
    headings += [axes[axis] for axis in varying]
    headings.append(metric(meta.spec))
    if frontier is not None:
        headings.append("Just beyond")
    else:
        headings += [axes.get(axis, axis) for axis in meta.spec.searched]
    lines = [_line(headings), _line(["---"] * len(headings))]
    for answer in given:
        values = [answer.implementation]
        values += [shown(answer.point[axis]) for axis in varying]
        values.append(shown(answer.value))
        beyond = answer.beyond
        if frontier is not None and beyond is not None:  # the first value that failed, and how
            values.append(f"{shown(beyond.value(frontier))}: {beyond.outcome}")
        elif frontier is not None:
            values.append(shown(None))
        elif answer.best is None:
            values += [shown(None)] * len(meta.spec.searched)
        else:
            values += [shown(answer.best.value(axis)) for axis in meta.spec.searched]
        lines.append(_line(values))
    return [*lines, ""]


def shown(value: Any) -> str:
    """A value in a cell: numbers with four significant digits, lists by comma."""
    if value is None:
        return "N/A"
    if isinstance(value, list | tuple):
        return ", ".join(map(shown, value))
    if isinstance(value, float):
        if abs(value) >= 1e4:  # from here on :.4g would write an exponent
            return f"{value:.0f}"
        return f"{value:.4g}"
    return str(value)


def _status(row: Row) -> str:
    if row.outcome is None:
        return "not run"
    if not row.ok:
        return f"✗ {row.outcome}"
    return f"✓ {', '.join(row.flags)}".strip()


def _line(cells: Sequence[str]) -> str:
    """A row of a Markdown table."""
    escaped = []
    for cell in cells:
        flat = " ".join(cell.split())  # a line break would end the row
        escaped.append(re.sub(r"([\\|`*<>\[\]])", r"\\\1", flat))
    return "|".join(["", *escaped, ""])


def _fitting(head: Sequence[str], lines: Sequence[str]) -> str:
    """As many lines as a tag has room for; then how many are left out, and where they are."""
    whole = "\n".join([*head, *lines])
    if len(whole) <= MAX_TAG:
        return whole
    kept = list(head)
    room = MAX_TAG - 80 - sum(len(line) + 1 for line in head)  # 80: for the last line
    for index, line in enumerate(lines):
        room -= len(line) + 1
        if room < 0:
            rest = len(lines) - index
            kept += ["", f"and {rest} more rows, in summary.txt of the artifacts"]
            break
        kept.append(line)
    return "\n".join(kept)


def heading(meta: SweepMeta) -> str:
    """The line above the table: which sweep, what for, where."""
    parts = (f"Sweep {meta.sweep_id}", meta.spec.description, f"device {meta.device}")
    return " · ".join(part for part in parts if part)
