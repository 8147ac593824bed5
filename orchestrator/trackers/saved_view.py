"""Saves a view of the MLflow UI for each sweep: its trials, with useful columns and charts.

The UI stores views as tags of the experiment (`mlflow.sharedViewState.<key>`, as its "Views" menu
writes them) and opens one by its key in the address.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from orchestrator.results.meta import SweepMeta
from orchestrator.trackers.content import STARTED_AT, milliseconds
from orchestrator.trackers.curves import CHARTED, Panel, panels, varying_axes, widest
from orchestrator.trackers.run_content import legal

PREFIX = "mlflow.sharedViewState."
KEPT = 20
LONGEST = 20_000  # characters of an experiment's tag; MLflow refuses a longer one
FIRST = (
    "metrics.`latency_ms`",
    "tags.`outcome`",
    "tags.`flags`",
    "metrics.`peak_memory_mib`",
    "metrics.`speedup`",
)
FIGURES = ("throughput_tokens_per_s", "tflops_per_s", "noise_pct", "relative_error")
WIDTHS = {
    "tags.`outcome`": 95,
    "metrics.`peak_memory_mib`": 140,
    "metrics.`speedup`": 90,
    "params.`implementation`": 165,
}
OVER_TIME = "over_time"
MAIN, REST = "figures", "all"
LARGE = {"isReordered": False, "columns": 2, "cardHeight": 440}  # room for titles and legends


def saved_view(meta: SweepMeta, axes: Sequence[str]) -> tuple[str, str]:
    """Tag and value of the view that shows this sweep's trials in the order of the table.

    Above them stands each implementation's own run, which is what the charts draw.

    The value has the state twice: for versions of the UI that know named views, and for older ones.
    Charts that would make it too long are left out, the last ones first.
    """
    varying = varying_axes(meta, axes)
    charts = _charts(meta, axes, varying)
    created_ms = milliseconds(meta.created_at)
    named = {"name": f"sweep {meta.sweep_id}", "createdAt": created_ms, "updatedAt": created_ms}
    while True:
        state = _state(meta, varying, charts)
        value = json.dumps({**state, **named, "state": json.dumps(state)})
        if len(value) <= LONGEST or not charts:
            return PREFIX + meta.sweep_id, value
        charts.pop()


def view_over_time() -> tuple[str, str]:
    """Tag and value of the view of every sweep of an experiment: each trial over time.

    A row that was reused is a link without figures, and so no point of it.
    """
    columns = [
        *FIRST,
        "params.`implementation`",
        "tags.`sweep_id`",
        "tags.`git_commit`",
        "tags.`device_model`",
        "tags.`trial_id`",
    ]
    charts = [_scatter(("PARAM", STARTED_AT), name) for name in CHARTED]
    state = _shared("tags.kind = 'trial' and tags.outcome = 'ok'", columns, charts)
    state["orderByKey"] = "params.`sweep_started_at`"  # by start the UI would fold trials away
    state["orderByAsc"] = False
    named = {"name": "over time", "createdAt": 0, "updatedAt": 0}
    return PREFIX + OVER_TIME, json.dumps({**state, **named, "state": json.dumps(state)})


def outdated(tags: Iterable[str], sweep_id: str) -> list[str]:
    """Views to drop when this sweep's is added, so that the newest KEPT stay.

    Only views named like a sweep's id: others are a person's own.
    """
    like = []
    for tag in tags:
        if not tag.startswith(PREFIX):
            continue
        key = tag.removeprefix(PREFIX)
        # as long as an id, and a date first
        if key != sweep_id and len(key) == len(sweep_id) and key[:8].isdigit():
            like.append(tag)
    return sorted(like)[: max(0, len(like) - KEPT + 1)]


def _state(
    meta: SweepMeta, varying: Sequence[str], charts: Sequence[Mapping[str, Any]]
) -> Mapping[str, Any]:
    columns = [*FIRST, "params.`implementation`"]
    columns += [f"params.`{name}`" for name in varying]
    columns += [f"metrics.`{name}`" for name in FIGURES]
    state = _shared(f"tags.sweep_id = '{meta.sweep_id}' and tags.kind != 'sweep'", columns, charts)
    state["orderByKey"] = "tags.`row`"  # by start the UI would fold all trials under the sweep
    state["orderByAsc"] = True
    return state


def _shared(
    searched: str, columns: Sequence[str], charts: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    return {
        "searchFilter": searched,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "selectedColumns": columns,
        "columnOrder": columns,
        "columnWidths": WIDTHS,
        "runsHiddenMode": "SHOWALL",
        "compareRunSections": [
            {"uuid": MAIN, "name": "Figures", "display": True, **LARGE},
            {"uuid": REST, "name": "Model metrics", "display": False, "isReordered": False},
        ],
        "compareRunCharts": charts,
    }


def _charts(
    meta: SweepMeta, axes: Sequence[str], varying: Sequence[str]
) -> list[Mapping[str, Any]]:
    """A line per implementation where the trials are a grid; else a point per trial."""
    if not varying:
        return [_bar(name) for name in CHARTED]
    drawn = panels(meta, axes)
    charts = []
    if drawn:
        for figure in CHARTED:
            charts += [_line(panel, figure) for panel in drawn]
    else:
        along = widest(meta, varying)
        if along is not None:
            charts += [_scatter(("PARAM", along), figure) for figure in CHARTED]
        charts.append(_scatter(("METRIC", "peak_memory_mib"), "latency_ms"))
    charts.append(_parallel(varying))
    return charts


def _line(panel: Panel, figure: str) -> Mapping[str, Any]:
    """A panel's figure: a line per implementation, or a bar where no axis of numbers varies."""
    name = panel.metric(figure)
    if panel.along is None:
        return _bar(name)
    shape = {
        "metricKey": name,
        "selectedMetricKeys": [name],
        "scaleType": "log",
        "xAxisKey": "metric",
        "selectedXAxisMetricKey": legal(panel.along),
        "useGlobalXaxisKey": False,
        "useGlobalLineSmoothing": False,
        "lineSmoothness": 0,
        "displayPoints": True,
    }
    return _chart("LINE", name, shape)


def _bar(name: str) -> Mapping[str, Any]:
    return _chart("BAR", name, {"metricKey": name})


def _parallel(axes: Sequence[str]) -> Mapping[str, Any]:
    chart = {"selectedParams": ["implementation", *axes], "selectedMetrics": ["latency_ms"]}
    return _chart("PARALLEL", "parallel", {**chart, "showAllRuns": True})


def _scatter(along: tuple[str, str], figure: str) -> Mapping[str, Any]:
    kind, name = along
    ends = {"xaxis": {"key": name, "type": kind}, "yaxis": {"key": figure, "type": "METRIC"}}
    return _chart("SCATTER", f"{figure}-{name}", ends)


def _chart(kind: str, uuid: str, more: Mapping[str, Any]) -> Mapping[str, Any]:
    shared = {
        "metricSectionId": MAIN,
        "runsCountToCompare": 100,
        "deleted": False,
        "isGenerated": False,
    }
    return {"type": kind, "uuid": uuid, **shared, **more}
