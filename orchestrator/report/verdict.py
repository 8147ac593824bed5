"""The verdict: who is right, who fits, who is fastest where, and by how much."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.record import Outcome
from orchestrator.report.layout import NOT_RUN, Layout
from orchestrator.report.text import counted, printable
from orchestrator.rows import Row


@dataclass(frozen=True)
class Winner:
    """The fastest row of one point.

    Attributes:
        point: the values of the columns, as text.
        rival: the next one; None: no other row is ok here.
        lead: the rival's median latency over the winner's, at least 1; None without a rival.
        clear: whether the two 95 % intervals are apart.
    """

    point: tuple[str, ...]
    row: Row
    rival: Row | None = None
    lead: float | None = None
    clear: bool = False


@dataclass(frozen=True)
class Standing:
    """One implementation over the whole sweep.

    Attributes:
        outcomes: how many of its rows ended how, `not run` included.
        flagged: rows that are ok and carry a doubt.
        wins: points where it is fastest, beyond both intervals; shared: fastest, but within them.
        speedup: geometric mean of the baseline's latency over its own, over the points where both are ok; with the
            least and the greatest; None: no such point.
        compared: how many such points there are.
        peak_memory_mib: of its largest row.
        relative_error: the largest over its rows.
    """

    implementation: str
    outcomes: Mapping[str, int]
    flagged: int
    wins: int
    shared: int
    speedup: tuple[float, float, float] | None
    compared: int
    peak_memory_mib: float | None
    relative_error: float | None

    @property
    def total(self) -> int:
        """How many rows it has."""
        return sum(self.outcomes.values())

    @property
    def ok(self) -> int:
        """How many of them are ok."""
        return self.outcomes.get(Outcome.OK, 0)


@dataclass(frozen=True)
class Verdict:
    """What the whole sweep says.

    Attributes:
        baseline: the implementation that speed-ups are over: the first of the sweep file.
        winners: one per point with a row that is ok, in the order of the table.
    """

    baseline: str
    standings: tuple[Standing, ...]
    winners: tuple[Winner, ...]
    points: int

    @classmethod
    def of(cls, layout: Layout) -> Verdict:
        """The verdict on a sweep's rows."""
        by_name: dict[str, list[Row]] = {}
        by_point: dict[tuple[str, ...], list[Row]] = {}
        for row in layout.rows:
            by_name.setdefault(row.implementation, []).append(row)
            by_point.setdefault(layout.point(row), []).append(row)
        baseline = next(iter(by_name), "")
        reference = {layout.point(row): row for row in by_name.get(baseline, [])}
        winners = tuple(found for point, here in by_point.items() if (found := _winner(point, here)))
        standings = (_standing(layout, name, found, reference, winners) for name, found in by_name.items())
        return cls(baseline, tuple(standings), winners, len(by_point))

    def sentences(self) -> list[str]:
        """Plain sentences: right, fits, everything else that went wrong, fastest."""
        return [self._right(), self._fits(), *self._others(), *self._fastest()]

    def _right(self) -> str:
        judged = sum(standing.ok for standing in self.standings)
        wrong = sum(standing.outcomes.get(Outcome.MISMATCH, 0) for standing in self.standings)
        if wrong:
            rows = f"{counted(wrong, 'row')} ({self._having(Outcome.MISMATCH)})"
            verb = (
                "disagrees with the float64 reference and has"
                if wrong == 1
                else "disagree with the float64 reference and have"
            )
            return f"Wrong: {rows} {verb} no time; the {judged} timed agree."
        if not judged:
            return "No row has a time yet."
        return f"Right: every timed row ({judged} of {self._total()}) agrees with the float64 reference."

    def _fits(self) -> str:
        large = self._having(Outcome.OOM)
        return f"Out of memory: {large}." if large else "Fits: no row ran out of memory."

    def _others(self) -> list[str]:
        names = {name: None for standing in self.standings for name in standing.outcomes}
        rest = [name for name in names if name not in (Outcome.OK, Outcome.MISMATCH, Outcome.OOM)]
        return [f"{name.capitalize()}: {self._having(name)}." for name in rest]

    def _fastest(self) -> list[str]:
        leaders = sorted((standing for standing in self.standings if standing.wins), key=lambda found: -found.wins)
        lines = [self._leads(standing) for standing in leaders]
        contested = [winner for winner in self.winners if winner.rival is not None]
        close = sum(not winner.clear for winner in contested)
        if close:
            lines.append(f"Too close to call: {_of(close, len(contested), 'shape')} (the 95 % intervals overlap).")
        return lines

    def _leads(self, standing: Standing) -> str:
        own = [w for w in self.winners if w.clear and w.row.implementation == standing.implementation]
        leads = sorted(winner.lead for winner in own if winner.lead is not None)
        contested = sum(winner.rival is not None for winner in self.winners)
        span = ratio(leads[0]) if len(leads) == 1 else f"{ratio(leads[0])} to {ratio(leads[-1])}"
        where = _of(len(own), contested, "shape")
        return f"Fastest: {printable(standing.implementation)} in {where}, {span} ahead of the next."

    def _having(self, outcome: str) -> str:
        found = {s.implementation: (s.outcomes[outcome], s.total) for s in self.standings if s.outcomes.get(outcome)}
        return ", ".join(f"{printable(name)} in {count} of {total}" for name, (count, total) in found.items())

    def _total(self) -> int:
        return sum(standing.total for standing in self.standings)


def ratio(value: float) -> str:
    """`1.07x`, `12.3x`, `140x`."""
    return f"{value:.2f}x" if value < 10 else f"{value:.1f}x" if value < 100 else f"{value:.0f}x"


def _of(count: int, total: int, noun: str) -> str:
    return f"all {counted(total, noun)}" if count == total > 1 else f"{count} of {counted(total, noun)}"


def _winner(point: tuple[str, ...], here: Sequence[Row]) -> Winner | None:
    ranked = sorted((row for row in here if row.metrics.get("latency_ms")), key=_latency)
    if not ranked:
        return None
    if len(ranked) == 1:
        return Winner(point, ranked[0])
    best, rival = ranked[:2]
    high, low = best.metrics.get("latency_ci_high_ms"), rival.metrics.get("latency_ci_low_ms")
    clear = high is not None and low is not None and high < low
    return Winner(point, best, rival, _latency(rival) / _latency(best), clear)


def _latency(row: Row) -> float:
    return float(row.metrics["latency_ms"] or 0.0)


def _standing(
    layout: Layout,
    name: str,
    found: Sequence[Row],
    reference: Mapping[tuple[str, ...], Row],
    winners: Sequence[Winner],
) -> Standing:
    own = [winner for winner in winners if winner.row.implementation == name and winner.rival is not None]
    pairs = ((reference.get(layout.point(row)), row) for row in found)
    ratios = [
        _latency(base) / _latency(row)
        for base, row in pairs
        if base is not None and base.metrics.get("latency_ms") and row.metrics.get("latency_ms")
    ]
    return Standing(
        implementation=name,
        outcomes=Counter(NOT_RUN if row.outcome is None else str(row.outcome) for row in found),
        flagged=sum(bool(row.flags) for row in found),
        wins=sum(winner.clear for winner in own),
        shared=sum(not winner.clear for winner in own),
        speedup=(math.exp(math.fsum(map(math.log, ratios)) / len(ratios)), min(ratios), max(ratios))
        if ratios
        else None,
        compared=len(ratios),
        peak_memory_mib=_largest(found, "peak_memory_mib"),
        relative_error=_largest(found, "relative_error"),
    )


def _largest(found: Sequence[Row], name: str) -> float | None:
    return max((value for row in found if (value := row.metrics.get(name)) is not None), default=None)
