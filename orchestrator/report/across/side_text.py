"""Writes several sweeps side by side as text, Markdown, CSV and JSON."""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Any

from orchestrator.compare.side_by_side import Line, SideBySide
from orchestrator.formatting import (
    counted,
    fitted,
    markdown,
    number,
    printable,
    shown,
    table_text,
)
from orchestrator.report.comparing.comparison import ratio_text
from orchestrator.report.csv_table import csv_of
from orchestrator.report.layout import status
from orchestrator.results.rows import Row

# Columns of the CSV.
METRICS = ("latency_ms", "latency_ci_low_ms", "latency_ci_high_ms", "peak_memory_mib")


def text(found: SideBySide) -> str:
    """The rows, the geometric means, and what the columns differ in; on a terminal no wider.

    Sweeps are named by letters there, whose ids are below, as far as the alphabet goes.
    """
    labels = _labels(found)
    if found.by == "sweep" and len(labels) <= 26:
        labels = list(string.ascii_uppercase[: len(labels)])
    parts = [fitted(title(found)), "", _grid(headings(found, labels), rows(found)), ""]
    parts += [_grid(mean_headings(found, labels), means(found)), ""]
    return "\n".join([*parts, *map(fitted, notes(found, labels))])


def markdown_page(found: SideBySide) -> str:
    """The same as Markdown."""
    parts = [
        f"## {markdown(title(found))}",
        _markdown(headings(found), rows(found)),
        _markdown(mean_headings(found), means(found)),
        "\n".join(f"- {markdown(line)}" for line in notes(found)),
    ]
    return "\n\n".join(parts) + "\n"


def title(found: SideBySide) -> str:
    """`12 rows by device: NVIDIA A100, NVIDIA H200`."""
    labels = ", ".join(printable(column.label) for column in found.columns)
    return f"{counted(len(found.lines), 'row')} by {found.by}: {labels}"


def headings(found: SideBySide, labels: Sequence[str] | None = None) -> list[str]:
    """Implementation and axes, then of each column the time and the ratio to the chosen one."""
    labels = labels or _labels(found)
    lines = ["Implementation", *found.axes.values()]
    for place, label in enumerate(labels):
        lines.append(f"{label} (ms)")
        if place != found.against:
            lines.append(f"over {labels[found.against]}")
    return lines


def rows(found: SideBySide) -> list[list[str]]:
    """The cells as text."""
    lines = []
    for line in found.lines:
        cells = [printable(line.row.implementation)]
        cells += [shown(line.row.value(name)) for name in found.axes]
        for place, row in enumerate(line.cells):
            cells.append(_time(row))
            if place != found.against:
                ratio = line.ratios[place]
                cells.append("" if ratio is None else ratio_text(ratio))
        lines.append(cells)
    return lines


def mean_headings(found: SideBySide, labels: Sequence[str] | None = None) -> list[str]:
    """Of the table of geometric means."""
    labels = labels or _labels(found)
    lines = ["Geometric mean of the ratios"]
    for place, label in enumerate(labels):
        if place != found.against:
            lines.append(f"{label} over {labels[found.against]}")
    return lines


def means(found: SideBySide) -> list[list[str]]:
    """A line for each implementation: the mean, and of how many ratios it is."""
    lines = []
    for label, values in found.means.items():
        cells = [printable(label)]
        for place, mean in enumerate(values):
            if place != found.against:
                cells.append("" if mean is None else f"{mean[0]:.3f} (of {mean[1]})")
        lines.append(cells)
    return lines


def notes(found: SideBySide, labels: Sequence[str] | None = None) -> list[str]:
    """What each column is of, and in what it differs from the chosen one besides its code."""
    labels = labels or _labels(found)
    lines = [
        f"Above 1: slower than {labels[found.against]}. A ratio is between sweeps that "
        "were run at different times: `compare` judges whether code made it."
    ]
    for place, (label, column) in enumerate(zip(labels, found.columns, strict=True)):
        models = ", ".join(map(printable, column.models)) or "a device that is not known"
        sweeps = ", ".join(map(printable, column.sweeps))
        lines.append(f"{label}: {models}; {counted(len(column.sweeps), 'sweep')}: {sweeps}")
        if place != found.against and column.unlike:
            facts = "; ".join(map(printable, column.unlike))
            lines.append(f"{label} differs in: {facts}")
    return lines


def csv_text(found: SideBySide) -> str:
    """CSV with a header: a line for each row of each column, numbers unrounded."""
    names: dict[str, None] = {}
    for line in found.lines:
        names |= dict.fromkeys(line.row.params)
    fields = ["implementation", *[f"params.{name}" for name in names], found.by, "outcome", "flags"]
    fields += METRICS
    fields += ["ratio", "ratio_ci_low", "ratio_ci_high", "trial_id"]
    records = []
    for line in found.lines:
        for column, row, ratio in zip(found.columns, line.cells, line.ratios, strict=True):
            if row is None:
                continue
            cells: dict[str, Any] = {
                "implementation": row.implementation,
                found.by: column.label,
                "outcome": str(row.outcome),
                "flags": " ".join(row.flags),
                "trial_id": row.trial_id,
            }
            for name, value in row.params.items():
                cells[f"params.{name}"] = value
            for name in METRICS:
                cells[name] = row.metrics.get(name)
            if ratio is not None:
                cells["ratio"] = ratio.value
                cells["ratio_ci_low"], cells["ratio_ci_high"] = ratio.ci_low, ratio.ci_high
            records.append(cells)
    return csv_of(fields, records)


def as_object(found: SideBySide) -> dict[str, Any]:
    """One object of JSON values."""
    columns = []
    for column in found.columns:
        described = {
            "label": column.label,
            "sweeps": list(column.sweeps),
            "models": list(column.models),
            "unlike": list(column.unlike),
        }
        columns.append(described)
    means: dict[str, list[float | None]] = {}
    for label, values in found.means.items():
        means[label] = []
        for mean in values:
            means[label].append(None if mean is None else mean[0])
    return {
        "by": found.by,
        "against": found.columns[found.against].label,
        "columns": columns,
        "rows": [_line_object(line) for line in found.lines],
        "geometric_means": means,
    }


def _line_object(line: Line) -> dict[str, Any]:
    latencies: list[float | None] = []
    outcomes: list[str | None] = []
    ratios: list[float | None] = []
    for row, ratio in zip(line.cells, line.ratios, strict=True):  # one of each per column
        latencies.append(None if row is None else row.metrics.get("latency_ms"))
        outcomes.append(None if row is None else str(row.outcome))
        ratios.append(None if ratio is None else ratio.value)
    return {
        "implementation": line.row.implementation,
        "params": dict(line.row.params),
        "options": dict(line.row.trial.options),
        "latency_ms": latencies,
        "outcome": outcomes,
        "ratio": ratios,
    }


def _time(row: Row | None) -> str:
    if row is None:
        return "-"
    if not row.ok:
        return status(row)
    text = number(row.metrics.get("latency_ms"))
    if row.flags:
        text += f" {', '.join(map(printable, row.flags))}"
    return text


def _labels(found: SideBySide) -> list[str]:
    return [printable(column.label) for column in found.columns]


def _grid(titles: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    return table_text(titles, body, wrapped=range(len(titles)))


def _markdown(titles: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(map(markdown, titles))} |"]
    lines.append(f"| {' | '.join(['---'] * len(titles))} |")
    for cells in body:
        line = " | ".join(map(markdown, cells))
        lines.append(f"| {line} |")
    return "\n".join(lines)
