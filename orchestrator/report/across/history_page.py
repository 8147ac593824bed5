"""history.html: one self-contained page whose first view says whether anything regressed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.formatting import counted, number, printable
from orchestrator.history.series import Point
from orchestrator.history.timeline import History, Step, Timeline
from orchestrator.report.across.history_text import (
    CAUSES,
    commit,
    day,
    failing_since,
    figure,
    name_of,
    notes,
    since,
    tells_nothing,
    title,
)
from orchestrator.report.page.template import rendered

WIDTH, HEIGHT, LEFT, MARGIN = 900, 120, 64, 10
MOST_ROWS, MOST_POINTS = 100, 400
COLOURS = 8


def history_page(history: History) -> str:
    """The page as HTML; it needs no script."""
    ordered = sorted(history.rows, key=_rank)
    machines: dict[str, str] = {}  # machine -> its colour
    for row in ordered:
        for point in row.series.points:
            machines.setdefault(point.machine, f"i{len(machines) % COLOURS}")
    drawn = ordered[:MOST_ROWS]
    legend = []
    for name, colour in machines.items():
        legend.append((printable(name or "unknown machine"), colour))
    return rendered(
        "history.html.j2",
        (),
        title=title(history),
        answer=_answer(history),
        tiles=_tiles(history),
        steps=[*_failing(history), *_steps(history)],
        notes=notes(history),
        left_out=_left_out(history, drawn),
        machines=legend,
        rows=[_row(history, row, machines) for row in drawn],
        width=WIDTH,
        height=HEIGHT,
    )


def _rank(row: Timeline) -> tuple[int, float]:
    """Regressions first, the largest first; then rows with other steps."""
    worst = max((abs(step.ratio - 1) for step in row.steps if step.is_regression), default=0.0)
    if row.newly_failing or worst:
        return 0, -worst
    if row.steps:
        return 1, 0.0
    return 2, 0.0


def _answer(history: History) -> str:
    worse = {row.series.trial_id for row, _ in history.regressions}
    failing = sum(row.newly_failing for row in history.rows)
    parts = []
    if worse:
        parts.append(f"{counted(len(worse), 'row')} regressed")
    if failing:
        verb = "fails" if failing == 1 else "fail"
        parts.append(f"{counted(failing, 'row')} newly {verb}")
    if parts:
        return ", ".join(parts)
    return "Too few sweeps to tell" if tells_nothing(history) else "Nothing regressed"


def _tiles(history: History) -> list[tuple[int, str, str]]:
    worse = len({row.series.trial_id for row, _ in history.regressions})
    failing = sum(row.newly_failing for row in history.rows)
    better = sum(not step.worse for _, step in history.others)
    moved = sum(step.worse for _, step in history.others)
    described = [  # count, label, tone, and the tone where there are none
        (worse, "regressed", "bad", "good"),
        (failing, "newly failing", "bad", "good"),
        (better, "better", "good", "quiet"),
        (moved, "worse, not by the code", "warn", "quiet"),
        (len(history.rows), "rows", "quiet", "quiet"),
        (history.sweeps, "sweeps", "quiet", "quiet"),
    ]
    tiles = []
    for count, label, tone, tone_of_none in described:
        if count == 0:
            tone = tone_of_none
        tiles.append((count, label, tone))
    return tiles


def _steps(history: History) -> list[dict[str, str]]:
    lines = []
    for row, step in [*history.regressions, *history.others]:
        what = "worse" if step.worse else "better"
        if step.is_regression:
            what = "regressed"
        line = {
            "name": name_of(history, row),
            "what": what,
            "tone": _tone(step),
            "by": f"{100 * (step.ratio - 1):+.3g} %",
            "was": number(step.was),
            "now": number(step.now),
            "since": since(step),
            "cause": CAUSES[step.cause],
        }
        lines.append(line)
    return lines


def _failing(history: History) -> list[dict[str, str]]:
    lines = []
    for row in history.rows:
        if not row.newly_failing:
            continue
        ended = row.series.points[-1].outcome
        line = {
            "name": name_of(history, row),
            "what": ended,
            "tone": "bad",
            "by": "",
            "was": "ok",
            "now": ended,
            "cause": "",
            "since": failing_since(row),
        }
        lines.append(line)
    return lines


def _tone(step: Step) -> str:
    if step.is_regression:
        return "bad"
    return "warn" if step.worse else "good"


def _left_out(history: History, drawn: Sequence[Timeline]) -> str:
    parts = []
    if len(drawn) < len(history.rows):
        parts.append(f"Drawn: {len(drawn)} of {len(history.rows)} rows.")
    if any(len(row.series.points) > MOST_POINTS for row in drawn):
        parts.append(f"Of each row the newest {MOST_POINTS} points.")
    return " ".join(parts)


@dataclass(frozen=True)
class _Scale:
    """From a figure to a height, logarithmic; from a place in the order to a distance."""

    low: float
    high: float
    count: int

    @classmethod
    def of(cls, points: Sequence[Point]) -> _Scale:
        # a logarithm takes no 0
        values = [point.value for point in points if point.value is not None and point.value > 0]
        low, high = min(values, default=1.0), max(values, default=1.0)
        # Less than 10 % from end to end is drawn as little as it is.
        widen = max(1.0, math.sqrt(1.1 * low / high))
        return cls(low / widen / 1.01, high * widen * 1.01, len(points))

    def x(self, place: float) -> float:
        step = (WIDTH - LEFT - MARGIN) / max(1, self.count - 1)
        return round(LEFT + place * step, 1)

    def y(self, value: float) -> float:
        held = min(self.high, max(self.low, value))
        share = math.log(held / self.low) / math.log(self.high / self.low)
        return round(HEIGHT - MARGIN - share * (HEIGHT - 2 * MARGIN), 1)


def _row(history: History, row: Timeline, machines: dict[str, str]) -> dict[str, Any]:
    points = row.series.points[-MOST_POINTS:]
    scale = _Scale.of(points)
    places: dict[int, int] = {}  # points by identity: two may be equal
    marks = []
    for place, point in enumerate(points):
        places[id(point)] = place
        marks.append(_point(history, point, place, scale, machines))
    # A change lies between two points: half a place before the first that has it.
    environments = []
    for change in row.environments:
        if id(change.after) in places:
            x = scale.x(places[id(change.after)] - 0.5)
            environments.append({"x": x, "facts": "; ".join(change.facts)})
    cuts = []
    for step in row.steps:
        if id(step.after) in places:
            x = scale.x(places[id(step.after)] - 0.5)
            cuts.append({"x": x, "tone": _tone(step), "text": since(step)})
    told = [f"{100 * (step.ratio - 1):+.3g} % on {day(step.after.at)}" for step in row.steps]
    steps = ", ".join(told)
    is_bad = row.newly_failing or any(step.is_regression for step in row.steps)
    last = figure(history, points[-1])
    return {
        "name": name_of(history, row),
        "last": last,
        "steps": steps,
        "tone": "bad" if is_bad else "quiet",
        "spoken": f"{counted(len(points), 'sweep')}, last {last}. {steps or 'no step'}",
        "low": number(scale.low),
        "high": number(scale.high),
        "points": marks,
        "environments": environments,
        "cuts": cuts,
        "levels": _levels(row, scale, places),
    }


def _levels(row: Timeline, scale: _Scale, places: dict[int, int]) -> list[dict[str, Any]]:
    """The level before each step and after it, as far as the steps around it."""
    lines: list[tuple[float, float, float, str]] = []
    cuts = [places.get(id(step.after), 0) - 0.5 for step in row.steps]
    ends = [*cuts[1:], scale.count - 1.0]
    for step, cut, end in zip(row.steps, cuts, ends, strict=False):
        lines.append((cut, end, step.now, _tone(step)))
        if len(lines) == 1:
            # of later steps the level before is the level after the step before
            lines.append((0.0, cut, step.was, ""))
    found = []
    for left, right, level, tone in lines:
        drawn = {"start": scale.x(left), "end": scale.x(right), "y": scale.y(level), "tone": tone}
        found.append(drawn)
    return found


def _point(
    history: History, point: Point, place: int, scale: _Scale, machines: dict[str, str]
) -> dict[str, Any]:
    kind = "failed"
    y: float = HEIGHT - MARGIN
    low = high = None
    if point.value is not None:
        kind = "counts" if point.ranked else "disturbed"
        y = scale.y(point.value)
        if point.low is not None and point.high is not None:
            low, high = scale.y(point.low), scale.y(point.high)
    where = ", ".join(filter(None, [day(point.at), commit(point), point.machine, point.flags]))
    return {
        "x": scale.x(place),
        "y": y,
        "low": low,
        "high": high,
        "kind": kind,
        "colour": machines[point.machine],
        "text": f"{figure(history, point)}: {where}, sweep {point.sweep.sweep_id}",
    }
