"""Compares two sweeps row by row: faster, slower, the same, unclear, newly failing or newly ok."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.compare.machine import MachineChange, machine_change, observations_of
from orchestrator.compare.pairing import (
    code_differences,
    other_changes,
    pair_answers,
    pair_up,
    same_code,
    unlike,
    why_apart,
)
from orchestrator.compare.threshold import LEAST_EFFECT, Threshold, floor_of
from orchestrator.compare.verdict import Verdict as Verdict
from orchestrator.errors import ComparisonError
from orchestrator.results import columns
from orchestrator.results.results import Results
from orchestrator.results.rows import Row
from orchestrator.stats.ratio import Ratio, geometric_mean, holm, ratio

SIGNIFICANT = 0.05

CHANGED = (Verdict.FASTER, Verdict.SLOWER)
MACHINE_DIFFERED = "the machine differed"
REGRESSIONS = (Verdict.NEWLY_FAILING, Verdict.SLOWER)
OVERALL = (*REGRESSIONS, Verdict.NEWLY_OK, Verdict.FASTER, Verdict.UNCLEAR, Verdict.SAME)


@dataclass(frozen=True)
class Pair:
    """One row of both sweeps.

    Attributes:
        ratio: candidate over base, above 1 slower; None unless both are ok.
        p_value: of "equal", Holm-adjusted for the rows compared.
        threshold: the least change that counts, as a fraction.
        alike: the change that is none: the threshold, but not where noise alone has driven that up.
        measured: whether the spread between fresh processes is known.
        machine: the least and the most that the machine alone made of it; see MachineChange.
        note: why a row has no ratio, or what else its figures say.
    """

    base: Row
    candidate: Row
    verdict: Verdict = Verdict.UNCLEAR
    ratio: Ratio | None = None
    p_value: float | None = None
    threshold: float = LEAST_EFFECT
    alike: float = LEAST_EFFECT
    measured: bool = False
    machine: tuple[float, float] = (1.0, 1.0)
    note: str = ""

    @property
    def is_open(self) -> bool:
        """Whether it is unclear, though both sides have a time."""
        return self.verdict is Verdict.UNCLEAR and self.ratio is not None

    def to_json(self) -> dict[str, Any]:
        """The row as `compare --json` gives it."""
        found = self.ratio
        return {
            "implementation": self.base.implementation,
            "params": dict(self.base.params),
            "verdict": self.verdict.value,
            "ratio": found and found.value,
            "ratio_ci_low": found and found.ci_low,
            "ratio_ci_high": found and found.ci_high,
            "p_value": self.p_value,
            "threshold": self.threshold,
            "base_latency_ms": self.base.metrics.get("latency_ms"),
            "candidate_latency_ms": self.candidate.metrics.get("latency_ms"),
            "note": self.note,
        }


@dataclass(frozen=True)
class Comparison:
    """What `compare` found.

    Attributes:
        base, candidate: the sweeps' ids.
        rows: rows of both sweeps, in the base's order.
        unmatched: rows of one sweep only, or run in one only: implementation, params and where they
            are.
        environment_differences: fields that must match and do not (the comparison was forced).
        fail_slower: the caller's threshold, or None.
        columns: axis -> heading, of the axes whose values tell the rows apart.
        machine: how fast the machine was in the candidate beside the base, by the controls of both.
        again: whether both were measured for this comparison, in turns.
        failures: what it fails on besides its verdicts; see `demands`.
        duel: the sweep in which both were measured in turns, where base and candidate are two
            labels of one.
        same_code: whether every row of both was measured with the same source code.
        code_differences: files and packages in which the code of the rows differs, as far as it is
            known.
    """

    base: str
    candidate: str
    rows: tuple[Pair, ...]
    unmatched: tuple[Mapping[str, Any], ...] = ()
    environment_differences: tuple[str, ...] = ()
    fail_slower: float | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    duel: str | None = None
    same_code: bool = False
    code_differences: tuple[str, ...] = ()
    machine: MachineChange | None = None
    again: bool = False
    failures: tuple[str, ...] = ()

    @property
    def counts(self) -> dict[Verdict, int]:
        """How many rows have each verdict."""
        found = Counter(pair.verdict for pair in self.rows)
        counts = {}
        for verdict in OVERALL:
            if found[verdict]:
                counts[verdict] = found[verdict]
        return counts

    @property
    def verdict(self) -> Verdict:
        """The verdict on the whole: the first in the order of OVERALL that any row has."""
        return next(iter(self.counts))

    @property
    def geometric_mean(self) -> float | None:
        """The geometric mean of the ratios; None where no row is ok in both."""
        values = [pair.ratio.value for pair in self.rows if pair.ratio is not None]
        if not values:
            return None
        return geometric_mean(values)

    @property
    def exit_code(self) -> int:
        """1 if any row is slower or newly failing, or fails on what else was asked, else 0."""
        if self.failures or any(pair.verdict in REGRESSIONS for pair in self.rows):
            return 1
        return 0

    @property
    def settled(self) -> bool:
        """Whether no row is unclear."""
        return Verdict.UNCLEAR not in self.counts

    @property
    def open_rows(self) -> int:
        """How many rows are unclear, though both sides have a time: more rounds may tell."""
        return sum(pair.is_open for pair in self.rows)

    def to_json(self) -> dict[str, Any]:
        """One object of JSON values."""
        return {
            "base": self.base,
            "candidate": self.candidate,
            "verdict": self.verdict.value,
            "geometric_mean": self.geometric_mean,
            "counts": {verdict.value: count for verdict, count in self.counts.items()},
            "fail_slower": self.fail_slower,
            "duel": self.duel,
            "rows": [pair.to_json() for pair in self.rows],
            "unmatched": [dict(row) for row in self.unmatched],
            "environment_differences": list(self.environment_differences),
            "same_code": self.same_code,
            "code_differences": list(self.code_differences),
            "again": self.again,
            "failures": list(self.failures),
            "machine": None if self.machine is None else self.machine.to_json(),
        }


def compare(
    base: Results, candidate: Results, *, force: bool = False, fail_slower: float | None = None
) -> Comparison:
    """Compare two sweeps' rows, matched by label and params.

    Args:
        base: what was.
        candidate: what is.
        force: compare although facts that must match differ.
        fail_slower: the least change that counts, as a fraction, in place of 1 %; noise may ask for
            more.

    Raises:
        ComparisonError: no row in common, or environments that differ.
    """
    searched = _searched(base, candidate)
    if searched:
        matched, unmatched = pair_answers(base.answers, candidate.answers)
    else:
        matched, unmatched = pair_up(base.rows, candidate.rows)
    both = f"{base.meta.sweep_id} and {candidate.meta.sweep_id}"
    if not matched and any("not run" in row["only_in"] for row in unmatched):
        raise ComparisonError(
            f"no row was run in both {both}: go on with the one that stopped, by resume"
        )
    if not matched:
        raise ComparisonError(
            f"{both} have no row in common (rows match by label and params): "
            f"{why_apart(base.rows, candidate.rows)}"
        )
    facts = unlike(base, candidate, matched)
    if facts and not force:
        raise ComparisonError(
            "the environments differ, so a ratio would not be the code's alone: "
            + "; ".join(facts)
            + ". Measure both in one environment, or compare all the same with --force"
        )
    base_rows = [row for row, _ in matched]
    candidate_rows = [row for _, row in matched]
    seen = observations_of(base, base_rows)
    machine = machine_change(seen, observations_of(candidate, candidate_rows))
    rows = []
    for pair in paired(matched, base.meta.device, fail_slower, machine):
        note = _with_points(pair, searched)
        rows.append(replace(pair, note=note))
    return Comparison(
        base.meta.sweep_id,
        candidate.meta.sweep_id,
        tuple(rows),
        tuple(unmatched),
        tuple(facts),
        fail_slower,
        columns.columns(base, base_rows),
        same_code=same_code(matched),
        code_differences=tuple(code_differences(base, candidate, matched)),
        machine=machine,
    )


def _searched(base: Results, candidate: Results) -> tuple[str, ...]:
    """The axes that were searched, where both sweeps did: then answer is held against answer.

    Raises:
        ComparisonError: what is best is not the least latency.
    """
    was, now = base.meta.spec, candidate.meta.spec
    if not was.search.active or not now.search.active:
        return ()
    for spec in (was, now):
        if spec.search.metric != "latency_ms" or not spec.search.least:
            raise ComparisonError(
                f"these sweeps searched for the best {spec.search.metric}, and compare compares "
                "times: run the points that they found as a grid, and compare those"
            )
    return tuple(dict.fromkeys([*was.searched, *now.searched]))


def _with_points(pair: Pair, searched: Sequence[str]) -> str:
    """The pair's note, with the searched axes and other figures in which its rows differ."""
    notes = []
    for axis in searched:
        was, now = columns.value(pair.base, axis), columns.value(pair.candidate, axis)
        if was != now:
            notes.append(f"{axis.removeprefix('options.')} {was}, now {now}")
    if pair.note:
        notes.append(pair.note)
    notes += other_changes(pair.base, pair.candidate)
    return "; ".join(notes)


def paired(
    rows: Sequence[tuple[Row, Row]],
    device: str,
    fail_slower: float | None = None,
    machine: MachineChange | None = None,
) -> tuple[Pair, ...]:
    """The verdict on each pair of rows that belong together, corrected for their number."""
    pairs = []
    for base, candidate in rows:
        if not both_ok(base, candidate):
            pairs.append(untimed_pair(base, candidate))
            continue
        floor = floor_of(base, candidate)
        threshold = Threshold.of(base, candidate, floor, device, fail_slower)
        found = ratio(base.rounds, candidate.rounds)
        pair = timed_pair(base, candidate, found, threshold, measured=floor is not None)
        if machine is not None:
            pair = replace(pair, machine=(machine.low, machine.high))
        pairs.append(pair)
    return corrected(pairs)


def both_ok(base: Row, candidate: Row) -> bool:
    """Whether both rows have what a ratio is made of: at least two repetitions, each above 0 ms.

    The time of a row that a search only screened does not count.
    """
    for row in (base, candidate):
        if not row.ok or row.is_screened:
            return False
        if sum(map(len, row.rounds)) < 2 or not _has_times(row.rounds):
            return False
    return True


def untimed_pair(base: Row, candidate: Row) -> Pair:
    """A row that has no time in one of the sweeps, or in both."""
    if base.ok and not candidate.ok:
        note = f"ok, now {candidate.outcome or 'not run'}"
        return Pair(base, candidate, Verdict.NEWLY_FAILING, note=note)
    if candidate.ok and not base.ok:
        return Pair(base, candidate, Verdict.NEWLY_OK, note=f"{base.outcome}, now ok")
    if base.is_screened or candidate.is_screened:
        return Pair(base, candidate, note="only screened by a search: its time is not compared")
    if base.ok:
        note = "repetitions are missing from the journal, or took no time"
        if _has_times((*base.rounds, *candidate.rounds)):
            note = "a single repetition has no interval"
        return Pair(base, candidate, note=note)
    if base.outcome == candidate.outcome:
        return Pair(base, candidate, Verdict.SAME, note=f"{base.outcome} in both")
    return Pair(base, candidate, note=f"{base.outcome}, now {candidate.outcome}")


def _has_times(rounds: Sequence[Sequence[float]]) -> bool:
    """Whether every round has repetitions, and each took time: a ratio takes no 0."""
    return all(values and min(values) > 0 for values in rounds)


def timed_pair(
    base: Row, candidate: Row, found: Ratio, threshold: Threshold, *, measured: bool
) -> Pair:
    """A pair with its ratio and threshold, without a verdict: that needs the p-values of all.

    `measured`: whether the spread between fresh processes is known.
    """
    return Pair(
        base,
        candidate,
        ratio=found,
        p_value=found.p_value,
        threshold=threshold.counts,
        alike=threshold.alike,
        measured=measured,
        note=", ".join(sorted({*base.flags, *candidate.flags})),
    )


def corrected(pairs: Sequence[Pair], significant: float = SIGNIFICANT) -> tuple[Pair, ...]:
    """The pairs with p-values adjusted for their number, and the verdicts that follow."""
    # Only rows with times are tested: the others do not count among the comparisons made.
    adjusted = iter(holm([pair.p_value for pair in pairs if pair.p_value is not None]))
    judged = []
    for pair in pairs:
        if pair.p_value is not None:
            pair = replace(pair, p_value=next(adjusted))
            verdict, note = _verdict(pair, significant), pair.note
            if verdict in CHANGED and _is_the_machine(pair, verdict):
                verdict = Verdict.UNCLEAR
                note = f"{note}; {MACHINE_DIFFERED}" if note else MACHINE_DIFFERED
            pair = replace(pair, verdict=verdict, note=note)
        judged.append(pair)
    return tuple(judged)


def _verdict(pair: Pair, significant: float) -> Verdict:
    """Faster, slower or the same, if the ratio shows it; else unclear."""
    found, threshold = pair.ratio, pair.threshold
    if found is None or pair.p_value is None:
        return pair.verdict
    # The interval is of this row alone; the p-value is adjusted for all that were compared.
    apart = not found.ci_low <= 1 <= found.ci_high and pair.p_value < significant
    if apart and found.value > 1 + threshold:
        return Verdict.SLOWER
    if apart and found.value < 1 / (1 + threshold):
        return Verdict.FASTER
    # "The same" is claimed, too: the whole interval must lie within what counts as no change.
    within = 1 / (1 + pair.alike) <= found.ci_low and found.ci_high <= 1 + pair.alike
    if within and pair.measured:
        return Verdict.SAME
    return Verdict.UNCLEAR


def _is_the_machine(pair: Pair, verdict: Verdict) -> bool:
    """Whether the controls changed as much, or less only by what does not count."""
    assert pair.ratio is not None
    # Controls that only got faster do not make a slower row less slow: 1 is always within.
    low, high = min(pair.machine[0], 1.0), max(pair.machine[1], 1.0)
    if verdict is Verdict.SLOWER:
        return pair.ratio.ci_low <= high or pair.ratio.value <= high * (1 + pair.threshold)
    return pair.ratio.ci_high >= low or pair.ratio.value >= low / (1 + pair.threshold)
