"""Prepares what the page's script works on: rows as columns of plain values, small enough for
10,000.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from orchestrator.formatting import axis_text, printable, shown
from orchestrator.metrics import METRICS, known
from orchestrator.report.layout import Layout, outcome_of
from orchestrator.report.page.phases import phase_shares
from orchestrator.report.ranking import Ranking, least_lead
from orchestrator.report.roofline import Peaks
from orchestrator.results.rows import Row
from orchestrator.stats.percentiles import SHARES
from orchestrator.util.quantities import is_number

MAX_VALUES = 200_000  # repetitions in one page; beyond, each row shows every n-th
MAX_VALUES_PER_ROW = 1_000
MAX_MESSAGE = 2_000
PERCENTILES = tuple(f"latency_{name}_ms" for name in SHARES)


def page_data(layout: Layout, ranking: Ranking) -> dict[str, Any]:
    """Rows as columns of JSON values, numbers to five digits, repetitions sampled to fit a page."""
    rows = layout.rows
    index: dict[str, int] = {}  # of an implementation: its place in the table
    for row in rows:
        index.setdefault(row.implementation, len(index))
    baseline = {standing.implementation: standing.baseline for standing in ranking.standings}
    axes, axis_values = [], {}
    for name, heading in layout.columns.items():
        axes.append({"name": name, "heading": heading})
        axis_values[name] = [_axis_value(name, row.value(name)) for row in rows]
    peaks = None
    measured = Peaks.of(layout.results.observations)
    if measured is not None:
        matmul = {name: _five_digits(rate) for name, rate in measured.matmul.items()}
        peaks = {"matmul": matmul, "copy": _five_digits(measured.copy)}
    metrics, figures = _metrics(rows), {}
    for name in metrics:
        figures[name] = [_five_digits(row.metrics.get(name)) for row in rows]
    known_first = [name for name in METRICS if name in metrics]
    known_first += [name for name in metrics if name not in METRICS]
    described = []
    for name in known_first:
        about = known(name)
        one = {"name": name, "label": about.label, "unit": about.unit, "drawn": about.drawn}
        described.append(one)
    return {
        "implementations": [printable(name) for name in index],
        "kinds": [ranking.kinds[name] for name in index],
        "least_lead": least_lead(ranking.drift),
        "baselines": [index[baseline[name]] for name in index],
        "axes": axes,
        "search": _search(layout),
        "metrics": described,
        "implementation": [index[row.implementation] for row in rows],
        "values": axis_values,
        "outcome": [outcome_of(row) for row in rows],
        "flags": [list(map(printable, row.flags)) for row in rows],
        "figures": figures,
        "trial": [row.trial_id for row in rows],
        "log": [row.log for row in rows],
        "details": [_details(layout, row) for row in rows],
        "repetitions": _repetitions(rows),
        "peaks": peaks,
    }


def _metrics(rows: Sequence[Row]) -> list[str]:
    """The metrics that some row has, as rows name them; the latency, too, where none has it."""
    found: dict[str, None] = {}  # a set that keeps the order
    for row in rows:
        for name, value in row.metrics.items():
            if name not in PERCENTILES and (value is not None or name == "latency_ms"):
                found[name] = None
    return list(found)


def embedded(data: Any) -> str:
    """JSON for a script element: no character of it can end the element or open a comment."""
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _search(layout: Layout) -> dict[str, Any] | None:
    """What is searched, and what is best; None: every point is asked for."""
    spec = layout.results.meta.spec
    if not spec.search.active:
        return None
    return {"axes": list(spec.searched), "metric": spec.search.metric, "least": spec.search.least}


def _axis_value(name: str, value: Any) -> int | float | str:
    return value if is_number(value) else axis_text(name, value)


def _five_digits(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.5g}")


def _details(layout: Layout, row: Row) -> dict[str, Any]:
    """What an opened row says beyond its columns."""
    params = {}
    for name, value in row.params.items():
        if name not in layout.columns:
            params[name] = shown(value)
    for name, value in row.trial.options.items():
        params[f"options.{name}"] = shown(value)
    details: dict[str, Any] = {"params": params, "notes": list(map(printable, row.notes))}
    if row.rounds:
        details["percentiles"] = [_five_digits(row.metrics.get(name)) for name in PERCENTILES]
    phases = phase_shares(row.records)
    if phases:
        details["phases"] = {phase.name: _five_digits(phase.seconds) for phase in phases}
    if row.kernels:
        details["kernels"] = []
        for one in row.kernels:
            kernel = [printable(one.name), one.count, _five_digits(one.share)]
            details["kernels"].append(kernel)
    if row.error is not None:
        message = row.error.message
        if len(message) > MAX_MESSAGE:
            message = f"{message[:MAX_MESSAGE]}\n[... the log has it all]"
        lines = "\n".join(map(printable, message.splitlines()))
        details["error"] = {"kind": printable(row.error.kind), "message": lines}
    if row.reused_from:
        details["notes"].append(f"measured by {printable(row.reused_from)}")
    if row.attempts != len(row.records):
        details["attempts"] = row.attempts
    return details


def _repetitions(rows: Sequence[Row]) -> list[dict[str, Any] | None]:
    """Per row its rounds, every `step`-th repetition of each; None without any."""
    timed = sum(bool(row.rounds) for row in rows)
    # 20 a row at least: from 10,000 rows on that is more than MAX_VALUES
    most = min(MAX_VALUES_PER_ROW, max(20, MAX_VALUES // max(1, timed)))
    sampled: list[dict[str, Any] | None] = []
    for row in rows:
        if not row.rounds:
            sampled.append(None)
            continue
        step = math.ceil(sum(map(len, row.rounds)) / most) or 1
        kept = [list(map(_five_digits, values[::step])) for values in row.rounds]
        sampled.append({"step": step, "rounds": kept})
    return sampled
