"""Writes the history of rows as text, CSV and JSON."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from orchestrator.formatting import (
    counted,
    fitted,
    interval,
    number,
    printable,
    shown,
    table_text,
)
from orchestrator.history.series import LATENCY, Point
from orchestrator.history.timeline import History, Step, Timeline
from orchestrator.metrics import known
from orchestrator.outcome import Outcome
from orchestrator.report.csv_table import csv_of

BARS = "▁▂▃▄▅▆▇█"
WIDEST, NARROW = 24, 9  # marks of a row's curve; where the terminal has less than
WIDE = 100  # columns
MOST = 10  # sentences of one kind
CAUSES = {
    "machine": "the machine changed with it",
    "unknown": "the source is the same",
    "code": "the source changed",
}
FIELDS = (
    "implementation", "trial_id", "sweep_id", "sweep", "at", "commit", "machine", "outcome",
    "flags", "low", "high", "source", "environment",
)  # fmt: skip
NO_REGRESSION = "No regression: no row is worse by its code, and none fails that was ok."
NOTHING_TOLD = (
    "Too few sweeps to tell whether a row became worse: none has six undisturbed ones. None fails "
    "that was ok."
)


def text(history: History) -> str:
    """The answer, then a line for each row; on a terminal no wider than that."""
    headings = ["Implementation", *history.axes, "Sweeps", "First", "Last", "Over time", "Steps"]
    body = [_line(history, row) for row in history.rows]
    broken = ("Implementation", "First", "Last", "Steps")
    grid = table_text(headings, body, wrapped=[headings.index(name) for name in broken])
    above = map(fitted, [title(history), *sentences(history)])
    return "\n".join([*above, "", grid, "", *map(fitted, notes(history))])


def title(history: History) -> str:
    """`Time (ms) of 4 rows in 12 sweeps, 2026-11-01 to 2026-11-30`."""
    moments: list[float] = []
    for row in history.rows:
        moments += [point.at for point in row.series.points]
    days = f"{day(min(moments))} to {day(max(moments))}"
    what = known(history.metric).heading
    rows, sweeps = counted(len(history.rows), "row"), counted(history.sweeps, "sweep")
    return f"{what} of {rows} in {sweeps}, {days}"


def sentences(history: History) -> list[str]:
    """Did anything regress, where, by how much, since which commit; then what else changed."""
    worse = [f"Worse: {_sentence(history, row, step)}" for row, step in history.regressions]
    failing = []
    for row in history.rows:
        if row.failing_since is not None:
            ended = row.series.points[-1].outcome
            failing.append(f"Failing: {name_of(history, row)}: {ended} since {failing_since(row)}")
    if not worse and not failing:
        worse = [NOTHING_TOLD if tells_nothing(history) else NO_REGRESSION]
    others = []
    for row, step in history.others:
        what = "Changed" if step.worse else "Better"
        others.append(f"{what}: {_sentence(history, row, step)}")
    return [*_first(worse), *_first(failing), *_first(others)]


def tells_nothing(history: History) -> bool:
    """Whether every row has too few sweeps for a step: that none was found is no good news."""
    return _short_rows(history) == len(history.rows)


def _short_rows(history: History) -> int:
    """How many rows have too few undisturbed sweeps for a step."""
    short = 0
    for row in history.rows:
        timed = sum(point.value is not None and point.ranked for point in row.series.points)
        short += timed < 2 * 3  # a step has three sweeps or more on either side
    return short


def notes(history: History) -> list[str]:
    """What the steps rest on, and what could not be read."""
    found = [
        "A step: CUSUM with permutations, binary segmentation, 1 % false discoveries; three sweeps "
        "or more on either side.",
    ]
    few = _short_rows(history)
    if few:
        found.append(
            f"{counted(few, 'row')} with fewer than six undisturbed sweeps: too few for a step; "
            "`compare` holds two sweeps against each other."
        )
    changed: set[str] = set()
    for row in history.rows:
        for change in row.environments:
            changed.update(change.facts)
    if changed:
        shown_facts = "; ".join(map(printable, sorted(changed)[:MOST]))
        found.append(f"Environments that changed (no step is taken across them): {shown_facts}.")
    for path, reason in history.unreadable:
        found.append(f"Not read: {printable(path)}: {printable(reason)}")
    return found


def as_object(history: History) -> dict[str, Any]:
    """The same as JSON values: every row with its points and steps."""
    return {
        "metric": history.metric,
        "sweeps": history.sweeps,
        "answer": sentences(history),
        "regressions": [_step(row, step) for row, step in history.regressions],
        "rows": [_row_object(row) for row in history.rows],
        "unreadable": [{"path": path, "reason": reason} for path, reason in history.unreadable],
    }


def _row_object(row: Timeline) -> dict[str, Any]:
    environments = []
    for change in row.environments:
        seen = {"sweep_id": change.after.sweep.sweep_id, "facts": list(change.facts)}
        environments.append(seen)
    return {
        "trial_id": row.series.trial_id,
        "implementation": row.series.implementation,
        "params": dict(row.series.params),
        "newly_failing": row.newly_failing,
        "failing_since": None if row.failing_since is None else _point(row.failing_since),
        "points": [_point(point) for point in row.series.points],
        "steps": [_step(row, step) for step in row.steps],
        "environment_changes": environments,
    }


def csv_text(history: History) -> str:
    """CSV with a header: a line for each row of each sweep, numbers unrounded."""
    params: dict[str, None] = {}  # a set that keeps the order
    for row in history.rows:
        params |= dict.fromkeys(row.series.params)
    names = [f"params.{name}" for name in params]
    lines = []
    for row in history.rows:
        same = {
            "implementation": row.series.implementation,
            "trial_id": row.series.trial_id,
        }
        for name, value in row.series.params.items():
            same[f"params.{name}"] = shown(value)
        for point in row.series.points:
            line = _point(point) | same
            line[history.metric] = point.value  # its column; `csv_of` leaves out what has none
            lines.append(line)
    return csv_of([*FIELDS[:1], *names, history.metric, *FIELDS[1:]], lines)


def name_of(history: History, row: Timeline) -> str:
    """`improved seq_len=4096 heads=8`."""
    values = [f"{name}={shown(row.series.params.get(name))}" for name in history.axes]
    return " ".join([printable(row.series.implementation), *values])


def figure(history: History, point: Point) -> str:
    """`1.160 [1.152, 1.171]`, or how the row ended."""
    if point.outcome != Outcome.OK:
        return f"✗ {point.outcome}"
    if point.value is None:
        return "no figure"
    if history.metric == LATENCY:
        return interval(point.value, point.low, point.high)
    return number(point.value)


def since(step: Step) -> str:
    """`commit 3f2a1bc (2026-11-20, sweep 20261120_093000_ab12)`: the first on the new level."""
    return _since(step.before, step.after)


def failing_since(row: Timeline) -> str:
    """The same of the first sweep in which a row that was ok fails; empty: it does not."""
    points = row.series.points
    if row.failing_since is None:
        return ""
    place = points.index(row.failing_since)
    return _since(points[place - 1], row.failing_since)


def _since(before: Point, after: Point) -> str:
    at = f"{day(after.at)}, sweep {printable(after.sweep.sweep_id)}"
    was, now = commit(before), commit(after)
    if not now:
        return at
    if was == now:
        return f"{at}, both at commit {now}"
    if not was:
        was = "an unknown one"
    return f"commit {now} ({at}; before it {was})"


def commit(point: Point) -> str:
    """The first digits of a commit, and `+` where files were changed since; empty: not known."""
    mark = "+" if point.commit.endswith("+") else ""
    return f"{point.commit[:7]}{mark}"


def day(moment: float) -> str:
    """`2026-11-22`, UTC."""
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d}"


def _sentence(history: History, row: Timeline, step: Step) -> str:
    percent = abs(100 * (step.ratio - 1))
    more = "more" if step.ratio > 1 else "less"
    return (
        f"{name_of(history, row)}: {percent:.3g} % {more} since {since(step)}; "
        f"{number(step.was)}, now {number(step.now)}; {CAUSES[step.cause]}"
    )


def _first(lines: Sequence[str]) -> list[str]:
    if len(lines) <= MOST:
        return list(lines)
    return [*lines[:MOST], f"  and {len(lines) - MOST} more of the kind"]


def _line(history: History, row: Timeline) -> list[str]:
    points = row.series.points
    cells = [printable(row.series.implementation)]
    cells += [shown(row.series.params.get(name)) for name in history.axes]
    cells.append(str(len(points)))
    cells.append(figure(history, points[0]))
    cells.append(figure(history, points[-1]))
    cells.append(_curve(points))
    steps = [f"{day(step.after.at)} {100 * (step.ratio - 1):+.3g} %" for step in row.steps]
    cells.append(", ".join(steps))
    return cells


def _curve(points: Sequence[Point]) -> str:
    """A mark for each of the newest points: `▁▁▂▇`; a blank where there is no figure."""
    is_narrow = sys.stdout.isatty() and shutil.get_terminal_size().columns < WIDE
    most = NARROW if is_narrow else WIDEST
    newest = points[-most:]
    values = [point.value for point in newest if point.value is not None]
    if not values:
        return ""
    low, high = min(values), max(values)
    marks = []
    for point in newest:
        if point.value is None:
            marks.append(" ")
        elif high <= low:  # a flat curve lies at the bottom
            marks.append(BARS[0])
        else:
            height = (point.value - low) / (high - low)
            marks.append(BARS[round(height * (len(BARS) - 1))])
    return "".join(marks)


def _point(point: Point) -> dict[str, Any]:
    return {
        "sweep_id": point.sweep.sweep_id,
        "sweep": point.sweep.name,
        "at": datetime.fromtimestamp(point.at, UTC).isoformat(timespec="seconds"),
        "value": point.value,
        "low": point.low,
        "high": point.high,
        "outcome": point.outcome,
        "flags": point.flags,
        "disturbed": point.disturbed,
        "machine": point.machine,
        "commit": point.commit or None,
        "source": point.source,
        "environment": point.environment,
    }


def _step(row: Timeline, step: Step) -> dict[str, Any]:
    return {
        "trial_id": row.series.trial_id,
        "implementation": row.series.implementation,
        "params": dict(row.series.params),
        "ratio": step.ratio,
        "was": step.was,
        "now": step.now,
        "p_value": step.p_value,
        "cause": step.cause,
        "worse": step.worse,
        "stands": step.stands,
        "before": _point(step.before),
        "after": _point(step.after),
    }
