"""Builds the content of a sweep's runs on a tracking server: its own, and one per trial."""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from orchestrator.outcome import Outcome
from orchestrator.results.answers import answers, metric
from orchestrator.results.columns import column_headings, shown_of
from orchestrator.results.meta import SweepMeta
from orchestrator.results.results import Results
from orchestrator.results.rows import Row
from orchestrator.trackers.description import description, heading, shown
from orchestrator.trackers.run_content import (
    MAX_NAME,
    MAX_PARAM,
    MAX_TAG,
    RunContent,
    finite,
    legal,
    text,
    within,
)
from orchestrator.util.quantities import is_number

MAX_ERROR = 300
# A param: the UI's charts have params and metrics on their axes alone. It is the time of the sweep:
# a param is written once, and a trial may be measured again.
STARTED_AT = "sweep_started_at"
SPEEDUP = "speedup"
SAME_WORK = 1e-6  # relative: the work of a row is its rate times its time
SWEEP, TRIAL, LINK = "sweep", "trial", "link"

Environments = Mapping[str, Mapping[str, Any]]

NOTE = "mlflow.note.content"
COLOUR = "mlflow.runColor"
# Okabe and Ito's palette, which the colour-blind can tell apart.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#7f6f00", "#000000")
PRIMARY = "mlflow.experiment.primaryMetric.name"
COMMIT = "mlflow.source.git.commit"
SOURCE = {"mlflow.source.name": "orchestrator", "mlflow.source.type": "LOCAL"}


@dataclass(frozen=True)
class Frame:
    """What the runs of a sweep share.

    Attributes:
        axes: axis -> heading: the workload's columns, then further axes that vary.
        places: trial_id -> its place in the table, as a text that sorts.
        colours: implementation -> the colour of its runs in the UI's charts.
    """

    meta: SweepMeta
    axes: Mapping[str, str]
    places: Mapping[str, str]
    colours: Mapping[str, str]

    @classmethod
    def of(cls, meta: SweepMeta) -> Frame:
        """The frame of a sweep; imports its workload."""
        width = len(str(len(meta.planned)))
        places = {}
        for place, trial in enumerate(meta.planned, start=1):
            places[trial.trial_id] = f"{place:0{width}}"
        labels = dict.fromkeys(entry.label for entry in meta.spec.implementations)
        colours = dict(zip(labels, itertools.cycle(COLOURS), strict=False))
        # headings of the workload's own columns, plain names for the axes beyond them
        own = shown_of(meta)
        axes = {}
        for name, stated in column_headings(meta).items():
            if own is not None and name in own.columns:
                axes[name] = stated
            else:
                axes[name] = name
        return cls(meta, axes, places, colours)


def child(
    frame: Frame, row: Row, environments: Environments, speedup: float | None = None
) -> RunContent:
    """The run of one trial that has ended at least once: all its rounds, pooled.

    Its duration is that of its rounds' last attempts together, without the wait for a repeat.
    `environments` serve records without their own, such as those read from a journal. For `speedup`
    see `speedups`.
    """
    meta = frame.meta
    last = max(row.records, key=lambda record: record.finished_at)
    environment = last.environment or environments.get(last.fingerprint.environment, {})
    counts_as_ok = {Outcome.OK, *meta.spec.allow_outcomes}
    params = {"implementation": row.implementation, **row.params}
    for name, value in row.trial.options.items():
        params[f"options.{name}"] = value
    params[STARTED_AT] = moment(meta.created_at)
    spent_ms = 0
    for record in row.records:
        spent_ms += milliseconds(record.finished_at) - milliseconds(record.started_at)
    end_ms = milliseconds(last.finished_at)
    tags = _child_tags(frame, row) | environment_tags(last.device, environment)
    tags["host"] = last.host
    return RunContent(
        name=run_name(list(frame.axes), row),
        status="FINISHED" if row.outcome in counts_as_ok else "FAILED",
        start_ms=end_ms - spent_ms,
        end_ms=end_ms,
        params={legal(name): within(text(value), MAX_PARAM) for name, value in params.items()},
        metrics=finite({**row.metrics, SPEEDUP: speedup}),
        tags=_limited(tags),
    )


def link(frame: Frame, row: Row, address: str | None) -> RunContent:
    """The run of a trial that another sweep measured: tags that lead there, and no figures.

    A copy would count the same measurement twice in every chart over sweeps.

    Args:
        frame: of the sweep that asks.
        row: with the records of the other.
        address: of the run that has the figures, from the server's own; None: the store has none.
    """
    measured = child(frame, row, {})
    where = "which has no run here"
    if address:
        where = f"[its run]({address})"
    tags = {
        **measured.tags,
        "kind": LINK,
        "reused_from": row.reused_from,
        "reused_at": row.records[0].finished_at,
        NOTE: f"Measured by sweep {row.reused_from}: {where}",
    }
    return replace(measured, metrics={}, tags=_limited(tags))


def _child_tags(frame: Frame, row: Row) -> dict[str, str]:
    error = row.error
    reason = note = ""
    if error is not None:
        reason = " ".join(f"{error.kind}: {error.message}".split())
        note = f"**{row.outcome}**: {error.kind}\n\n```\n{error.message}\n```\nLog: `{row.log}`"
    return {
        "kind": TRIAL,
        "sweep_id": frame.meta.sweep_id,
        "sweep": frame.meta.name,
        "row": frame.places.get(row.trial_id, ""),
        "trial_id": row.trial_id,
        "implementation": row.implementation,
        "outcome": str(row.outcome),
        "flags": ",".join(row.flags),
        "notes": "; ".join(row.notes),
        "rounds": str(len(row.records)),
        "attempts": str(row.attempts),
        "error": within(reason, MAX_ERROR),
        NOTE: note,
        COLOUR: frame.colours.get(row.implementation, ""),
        **SOURCE,
    }


def speedups(frame: Frame, found: Sequence[Row]) -> dict[str, float]:
    """trial_id -> the baseline's time over its own, at the same values of the axes.

    The baseline is the sweep's `baseline`, else the first of the file. If that does other work, in
    useful FLOPs, it is the first that does the same.
    """
    by_point: dict[str, list[Row]] = {}
    stated = frame.meta.spec.baseline
    # the baseline first: of each point the first row that does the same work is the base
    for row in sorted(found, key=lambda row: row.implementation != stated):
        if row.metrics.get("latency_ms"):
            point = repr([row.value(axis) for axis in frame.axes])
            by_point.setdefault(point, []).append(row)
    ratios = {}
    for rows in by_point.values():
        for row in rows:
            bases = [other for other in rows if _does_the_same(row, other)]  # itself at least
            base_ms = bases[0].metrics["latency_ms"] or 0.0
            ratios[row.trial_id] = base_ms / (row.metrics["latency_ms"] or 1.0)
    return ratios


def _does_the_same(row: Row, other: Row) -> bool:
    """Whether two rows do the same work; True where that of either is not known."""
    ours, theirs = _work(row), _work(other)
    if ours is None or theirs is None:
        return True
    return math.isclose(ours, theirs, rel_tol=SAME_WORK)


def _work(row: Row) -> float | None:
    """A measure of the useful work of one call: its rate times its time; None: not known."""
    rate, time = row.metrics.get("tflops_per_s"), row.metrics.get("latency_ms")
    if not rate or not time:
        return None
    return rate * time


def environment_tags(device: str, environment: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Tags that say where a run was measured; empty texts for what is not known."""
    match, know = environment.get("match", {}), environment.get("know", {})
    commit = text(know.get("git_commit"))
    return {
        "device": device,
        "device_model": text(match.get("model")),
        "driver": text(match.get("driver")),
        "torch": text(match.get("torch")),
        "cuda": text(match.get("cuda")),
        "git_commit": commit,
        "git_dirty": text(know.get("git_dirty")),
        COMMIT: commit,
    }


def parent(meta: SweepMeta) -> RunContent:
    """The sweep's own run while it is under way."""
    tags = {
        "kind": SWEEP,
        "sweep_id": meta.sweep_id,
        "sweep": meta.name,
        "workload": meta.spec.workload,
        "device": meta.device,
        NOTE: heading(meta),
        **SOURCE,
    }
    name = f"sweep {meta.name} {meta.sweep_id}"
    return RunContent(name, "RUNNING", milliseconds(meta.created_at), 0, {}, {}, _limited(tags))


def summary(status: str, results: Results, frame: Frame, found: Sequence[Row]) -> RunContent:
    """The sweep's own run when it ends: the table as its description, the totals as metrics.

    Every outcome is counted, 0 included: a metric once written cannot be taken back.
    """
    begun = parent(results.meta)
    environment = next(iter(results.environments.values()), {})
    tags = environment_tags(results.meta.device, environment)
    tags[NOTE] = description(frame.meta, frame.axes, found)
    outcomes = Counter(row.outcome for row in found)
    totals = {f"trials_{outcome}": float(outcomes[outcome]) for outcome in Outcome}
    totals["trials"] = float(len(found))
    totals["trials_not_run"] = float(outcomes[None])
    totals["trials_flagged"] = float(sum(bool(row.flags) for row in found))
    totals["attempts"] = float(len(results.made))
    totals |= _answers(frame, found)
    starts = [milliseconds(record.started_at) for record in results.made]
    ends = [milliseconds(record.finished_at) for record in results.made]
    end_ms = max(ends, default=begun.start_ms)
    totals["elapsed_s"] = (end_ms - min(starts, default=end_ms)) / 1000
    all_tags = dict(begun.tags) | _limited(tags)
    return replace(begun, status=status, end_ms=end_ms, metrics=totals, tags=all_tags)


def _answers(frame: Frame, found: Sequence[Row]) -> dict[str, float]:
    """Results of a search or a frontier, one metric per cell: `max_seq_len improved heads:8`."""
    name = metric(frame.meta.spec)
    varying = []
    for axis in frame.axes:
        values = {repr(row.value(axis)) for row in found}
        if len(values) > 1:
            varying.append(axis)
    named = {}
    for answer in answers(frame.meta, found):
        if answer.value is None:
            continue
        point = answer.point
        words = [name, answer.implementation]
        for axis in varying:
            if axis in point:
                words.append(f"{axis}:{shown(point[axis])}")
        named[legal(" ".join(words))] = answer.value
    return named


def experiment_tags(meta: SweepMeta) -> dict[str, str]:
    """Tags of a sweep's experiment; by them the UI opens on its runs and its main metric."""
    spec = meta.spec
    primary = spec.search.metric
    if spec.frontier.axis is not None:
        primary = metric(spec)
    return {
        NOTE: spec.description,
        "mlflow.experimentKind": "custom_model_development",
        PRIMARY: primary,
    }


def run_name(axes: Sequence[str], row: Row) -> str:
    """The label and the point: `improved b1 sl1024 h8`, by the initials of the table's columns."""
    short = {}
    for name in axes:
        words = re.split(r"[._]", name.removeprefix("options."))
        short[name] = "".join(word[:1] for word in words)
    unique = len(set(short.values())) == len(short)
    words = [row.implementation]
    for name in axes:
        value = row.value(name)
        if unique and is_number(value):
            words.append(f"{short[name]}{shown(value)}")
        elif isinstance(value, str):
            words.append(value)
        else:
            words.append(f"{name}={shown(value).replace(' ', '')}")
    return within(" ".join(words), MAX_NAME)


def moment(at: str) -> str:
    """`2026-11-22 09:30:00`, UTC: what the UI's charts take for a time."""
    return datetime.fromtimestamp(milliseconds(at) / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def milliseconds(at: str) -> int:
    """ISO 8601 to milliseconds since 1970."""
    return round(datetime.fromisoformat(at).timestamp() * 1000)


def _limited(tags: Mapping[str, str]) -> dict[str, str]:
    return {name: within(value, MAX_TAG) for name, value in tags.items()}
