"""Ranks implementations: who is right, who fits, who is fastest where, and by how much."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.formatting import counted, printable
from orchestrator.machine.observation import drifts
from orchestrator.outcome import Flag, Outcome
from orchestrator.report.layout import Layout, outcome_of
from orchestrator.report.same_work import baselines, kinds, members
from orchestrator.results.rows import Row


@dataclass(frozen=True)
class Winner:
    """The fastest row of one point among those that do the same work.

    Attributes:
        point: the values of the columns, as text.
        rival: the next one; None: no other row is ok here.
        lead: the rival's median latency over the winner's, at least 1; None without a rival.
        doubtful: whether something disturbed either of the two (contended, throttled): no interval
            knows of that.
        apart: whether the two 95 % intervals are apart.
        clear: whether they are, neither row is doubtful, and the lead is more than the machine's
            own changes may have made.
    """

    point: tuple[str, ...]
    row: Row
    rival: Row | None = None
    lead: float | None = None
    apart: bool = False
    clear: bool = False
    doubtful: bool = False


@dataclass(frozen=True)
class Standing:
    """One implementation over the whole sweep.

    Attributes:
        outcomes: how many of its rows ended how, `not run` included.
        flagged: rows that are ok and carry a doubt.
        flags: how many carry which.
        disturbed: rows that were contended or throttled, and so are not ranked.
        wins: points where it is fastest, beyond both intervals; shared: fastest, but within them.
        baseline: the implementation that its speed is over: the sweep's `baseline`, else the first
            that does its work.
        speedup: geometric mean of the baseline's latency over its own, over the points where both
            are ok and nothing disturbed either; with the least and the greatest; None: no such
            point.
        compared: how many such points there are.
        peak_memory_mib: of its largest row.
        relative_error: the largest over its rows.
    """

    implementation: str
    outcomes: Mapping[str, int]
    flagged: int
    flags: Counter[str]
    disturbed: int
    wins: int
    shared: int
    baseline: str
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
class Ranking:
    """What the whole sweep says.

    Attributes:
        kinds: implementation -> which others do the same work (see `kinds`); only those are ranked
            together.
        winners: one per point and kind with a row that is ok, in the order of the table.
        drift: the most that the machine itself changed by, as a share; 0: by no more than is usual,
            or every row was measured in several processes, so that its interval knows of it.
        proposes: whether it is a search or a frontier, whose answers say more than a ranking.
    """

    kinds: Mapping[str, int]
    standings: tuple[Standing, ...]
    winners: tuple[Winner, ...]
    drift: float = 0.0
    proposes: bool = False

    @classmethod
    def of(cls, layout: Layout) -> Ranking:
        """The verdict on a sweep's rows."""
        by_name: dict[str, list[Row]] = {}
        by_point: dict[tuple[tuple[str, ...], int], list[Row]] = {}
        of_kind = kinds(layout)
        for row in layout.rows:
            by_name.setdefault(row.implementation, []).append(row)
            by_point.setdefault((layout.point(row), of_kind[row.implementation]), []).append(row)
        drift = _drift(layout)
        winners = []
        for (point, _), here in by_point.items():
            winner = _winner(point, here, least_lead(drift))
            if winner is not None:
                winners.append(winner)
        first = baselines(of_kind, layout.results.meta.spec.baseline)
        standings = []
        for name, found in by_name.items():
            baseline = (first[name], by_name[first[name]])
            standings.append(_standing(layout, name, found, baseline, winners))
        proposes = layout.results.meta.spec.proposes
        return cls(of_kind, tuple(standings), tuple(winners), drift, proposes)

    def sentences(self) -> list[str]:
        """Plain sentences: right, fits, everything else that went wrong, fastest, what to doubt."""
        found = [*self._unranked(), self._right(), *self._fits(), *self._others()]
        groups = [", ".join(map(printable, names)) for names in members(self.kinds)]
        if len(groups) > 1:
            apart = "; ".join(groups)
            found.append(f"Not ranked together (they do different work): {apart}.")
        return [*found, *self._fastest(), *self._doubts()]

    def _unranked(self) -> list[str]:
        """A warning, before all else, if most rows were contended or throttled."""
        timed = sum(standing.ok for standing in self.standings)
        disturbed = sum(standing.disturbed for standing in self.standings)
        if not timed or 2 * disturbed <= timed:
            return []
        rows = _of(disturbed, timed, "timed row")
        return [
            f"No ranking: the machine was busy ({rows} contended or throttled); "
            "`orchestrator doctor` shows by what; run it again when it is quiet."
        ]

    def _right(self) -> str:
        judged = sum(standing.ok for standing in self.standings)
        wrong = sum(standing.outcomes.get(Outcome.MISMATCH, 0) for standing in self.standings)
        if wrong:
            rows = f"{counted(wrong, 'row')} ({self._having(Outcome.MISMATCH)})"
            disagree, have = ("disagrees", "has") if wrong == 1 else ("disagree", "have")
            rest = ""
            if judged == 1:
                rest = "; the one timed row agrees"
            elif judged > 1:
                rest = f"; the {judged} timed agree"
            return f"Wrong: {rows} {disagree} with the float64 reference and {have} no time{rest}."
        if not judged:
            return "No row has a time yet."
        total = sum(standing.total for standing in self.standings)
        return f"Right: every timed row ({judged} of {total}) agrees with the float64 reference."

    def _fits(self) -> list[str]:
        large = self._having(Outcome.OOM)
        if large:
            return [f"Out of memory: {large}."]
        if any(standing.ok for standing in self.standings):
            return ["Fits: no row ran out of memory."]
        return []  # nothing ran that could say so

    def _others(self) -> list[str]:
        """A line for each outcome that no other sentence is about."""
        names: dict[str, None] = {}  # a set that keeps the order
        for standing in self.standings:
            names |= dict.fromkeys(standing.outcomes)
        lines = []
        for name in names:
            if name in (Outcome.OK, Outcome.MISMATCH, Outcome.OOM):
                continue
            lines.append(f"{name.capitalize()}: {self._having(name)}.")
        return lines

    def _doubts(self) -> list[str]:
        flagged = timed = 0
        flags: Counter[str] = Counter()
        for standing in self.standings:
            flagged += standing.flagged
            timed += standing.ok
            flags.update(standing.flags)
        if not flagged:
            return []
        named = ", ".join(f"{count} {printable(flag)}" for flag, count in flags.most_common())
        advice = ""
        if 2 * flagged > timed and not self._unranked():  # which advises it already
            advice = "; run it again when the machine is quiet before you rely on a ranking"
        return [f"Doubtful: {_of(flagged, timed, 'timed row')} ({named}){advice}."]

    def _fastest(self) -> list[str]:
        leaders = [standing for standing in self.standings if standing.wins]
        leaders.sort(key=lambda found: (self.kinds[found.implementation], -found.wins))
        lines = [self._leads(standing) for standing in leaders]
        contested = doubtful = close = within = 0
        for winner in self.winners:
            if winner.rival is None:
                continue
            contested += 1
            doubtful += winner.doubtful
            if winner.doubtful or winner.clear:
                continue
            close += not winner.apart
            within += winner.apart
        if close:
            shapes = _of(close, contested, "shape")
            lines.append(f"Too close to call: {shapes} (the 95 % intervals overlap).")
        if within:
            shapes = _of(within, contested, "shape")
            lines.append(
                f"Too close to call: {shapes} (ahead by less than {ratio(least_lead(self.drift))}, "
                f"and the machine itself changed by {self.drift:.0%} meanwhile; measure.repeats: 3 "
                "would tell)."
            )
        if doubtful and not self._unranked():  # which says it of the whole sweep
            shapes = _of(doubtful, contested, "shape")
            lines.append(
                f"Not ranked: {shapes} (the fastest or the next was contended or throttled)."
            )
        if not contested and not self.proposes and any(standing.ok for standing in self.standings):
            lines.append(
                "Fastest: nothing to compare, no shape has two timed rows that do the same work."
            )
        return lines

    def _leads(self, standing: Standing) -> str:
        name, own, contested = standing.implementation, 0, 0
        leads = []
        for winner in self.winners:
            by = winner.row.implementation
            contested += winner.rival is not None and self.kinds[by] == self.kinds[name]
            if winner.clear and by == name:
                own += 1
                if winner.lead is not None:
                    leads.append(winner.lead)
        where = _of(own, contested, "shape")
        span = spread(min(leads), max(leads))
        return f"Fastest: {printable(name)} in {where}, {span} ahead of the next."

    def _having(self, outcome: str) -> str:
        """`standard in 3 of 8, mine in 1 of 8`; names alone where each has one row."""
        each_has_one = all(standing.total == 1 for standing in self.standings)
        parts = []
        for standing in self.standings:
            count = standing.outcomes.get(outcome)
            if not count:
                continue
            text = printable(standing.implementation)
            if not each_has_one:
                text += f" in {count} of {standing.total}"
            parts.append(text)
        return ", ".join(parts)


def ratio(value: float) -> str:
    """`0.0123x`, `0.85x`, `1.07x`, `12.3x`, `140x`."""
    if value < 0.1:
        return f"{value:.2g}x"
    if value < 10:
        return f"{value:.2f}x"
    if value < 100:
        return f"{value:.1f}x"
    return f"{value:.0f}x"


def least_lead(drift: float) -> float:
    """The lead above which one row is faster than another on a machine that changed by this share.

    Twice the change: one row may have had the machine at its best and the other at its worst, and
    the controls, some moments of the sweep, have seen neither.
    """
    return 1 + 2 * drift


def _drift(layout: Layout) -> float:
    """The most that any slot's machine changed by; 0 where intervals span several processes."""
    results = layout.results
    if results.meta.spec.measure.repeats > 1:
        return 0.0
    found = drifts(results.observations, results.meta.device)
    return max((drift.share for drift in found.values()), default=0.0)


def spread(least: float, most: float) -> str:
    """`1.27x to 5.62x`, or `2.50x` where both read the same."""
    low, high = ratio(least), ratio(most)
    return low if low == high else f"{low} to {high}"


def speed_heading(ranking: Ranking, escape: Callable[[str], str] = printable) -> str:
    """The heading of speeds: over the one baseline, or over the one that each row names."""
    first = {standing.baseline for standing in ranking.standings}
    if len(first) == 1:
        return f"Speed over {escape(first.pop())}"
    return "Speed"


def _of(count: int, total: int, noun: str) -> str:
    if count == total == 2:
        return f"both {noun}s"
    if count == total > 1:
        return f"all {counted(total, noun)}"
    return f"{count} of {counted(total, noun)}"


def _winner(point: tuple[str, ...], here: Sequence[Row], least: float) -> Winner | None:
    """The fastest of these rows; clear if it leads by more than `least`."""
    # A screened row shared its process with other candidates: its time decides nothing.
    timed = [row for row in here if row.metrics.get("latency_ms") and not row.is_screened]
    ranked = sorted(timed, key=_latency)
    if not ranked:
        return None
    if len(ranked) == 1:
        return Winner(point, ranked[0])
    best, rival = ranked[:2]
    high, low = best.metrics.get("latency_ci_high_ms"), rival.metrics.get("latency_ci_low_ms")
    doubtful = best.is_disturbed or rival.is_disturbed
    apart = high is not None and low is not None and high < low
    lead = _latency(rival) / _latency(best)
    clear = apart and lead > least and not doubtful
    return Winner(point, best, rival, lead, apart, clear, doubtful)


def _latency(row: Row) -> float:
    return float(row.metrics["latency_ms"] or 0.0)


def _standing(
    layout: Layout,
    name: str,
    found: Sequence[Row],
    baseline: tuple[str, Sequence[Row]],
    winners: Sequence[Winner],
) -> Standing:
    reference = {layout.point(row): row for row in baseline[1]}
    flags: Counter[str] = Counter()
    flagged = disturbed = 0
    ratios = []
    for row in found:
        doubts = _doubts(row)
        flags.update(doubts)
        flagged += bool(doubts)
        disturbed += row.is_disturbed
        base = reference.get(layout.point(row))
        if base is not None and base.is_ranked and row.is_ranked:
            ratios.append(_latency(base) / _latency(row))
    wins = shared = 0
    for winner in winners:
        if winner.row.implementation == name and winner.rival is not None:
            wins += winner.clear
            shared += not winner.clear and not winner.doubtful
    speedup = None
    if ratios:
        # The geometric mean: that of the inverse ratios is its inverse.
        mean = math.exp(math.fsum(map(math.log, ratios)) / len(ratios))
        speedup = (mean, min(ratios), max(ratios))
    return Standing(
        implementation=name,
        outcomes=Counter(map(outcome_of, found)),
        flagged=flagged,
        flags=flags,
        disturbed=disturbed,
        wins=wins,
        shared=shared,
        baseline=baseline[0],
        speedup=speedup,
        compared=len(ratios),
        peak_memory_mib=_largest(found, "peak_memory_mib"),
        relative_error=_largest(found, "relative_error"),
    )


def _largest(found: Sequence[Row], name: str) -> float | None:
    values = []
    for row in found:
        value = row.metrics.get(name)
        if value is not None:
            values.append(value)
    return max(values, default=None)


def _doubts(row: Row) -> list[str]:
    """The row's flags but `cut` and `screened`, which say only that another was better."""
    return [flag for flag in row.flags if row.ok and flag not in (Flag.CUT, Flag.SCREENED)]
