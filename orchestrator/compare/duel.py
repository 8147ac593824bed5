"""A duel: two implementations of one sweep file, measured in turns at every point where both have a
trial.

It runs, is journalled and is resumed like any sweep, five rounds unless the file states
`measure.repeats`. Its verdicts rest on ratios within a process, which cancel what changes from
process to process.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from orchestrator.compare.comparison import (
    Comparison,
    Pair,
    Verdict,
    both_ok,
    corrected,
    timed_pair,
)
from orchestrator.compare.threshold import Threshold
from orchestrator.errors import RequestError, suggestion
from orchestrator.plan.expand import Plan, Step
from orchestrator.plan.sweep import Sweep
from orchestrator.results import columns
from orchestrator.results.results import Results
from orchestrator.results.rows import Row
from orchestrator.results.sweep_directory import META_FILE
from orchestrator.spec.models import SweepSpec
from orchestrator.stats.ratio import paired_ratio
from orchestrator.trial import Trial

ROUNDS = 5
FEWEST_BLOCKS = 2  # a single one says nothing of its own error

Values = Sequence[float]


def prepare(sweep: Sweep, base: str, candidate: str) -> Sweep:
    """The sweep in which `base` and `candidate`, labels of its entries, are measured in turns, and
    nothing else.

    Raises:
        RequestError: a label that is not there, one label twice, no point at which both have a
            trial, or a file that searches.
    """
    _refuse_labels(sweep, base, candidate)
    if sweep.plan.cells:
        raise RequestError(
            "compare --duel measures a grid, and this sweep file searches: give its axes as lists"
        )
    if sweep.spec.resources.per_accelerator:
        raise RequestError(
            "compare --duel measures on one model of accelerator: choose it by resources.accelerator"
        )
    firsts, seconds = (_by_point(sweep, label) for label in (base, candidate))
    pairs = [(firsts[point], seconds[point]) for point in firsts if point in seconds]
    if not pairs:
        raise RequestError(
            f"nothing to compare: {base} and {candidate} have no point of the axes in common"
        )
    spec = _narrowed(sweep.spec, base, candidate)
    trials = (*(first for first, _ in pairs), *(second for _, second in pairs))
    text = f"{len(pairs)} points with a trial of {base} and one of {candidate}, measured in turns"
    plan = Plan(trials, (*sweep.plan.steps, Step(text, len(trials))))
    return replace(
        sweep, spec=spec, plan=plan, rivals={first.trial_id: second for first, second in pairs}
    )


def _refuse_labels(sweep: Sweep, base: str, candidate: str) -> None:
    for label in (base, candidate):
        if label not in sweep.entries:
            raise RequestError(
                f"the sweep has no implementation labelled {label!r}{suggestion(label, sweep.entries)}"
            )
    if base == candidate:
        raise RequestError(
            f"{base} against itself: give it a second entry under another label, {{use: ..., label: {base}-again}}, "
            "to see what a duel makes of no difference"
        )


def _narrowed(spec: SweepSpec, base: str, candidate: str) -> SweepSpec:
    """The spec of these two alone, with ROUNDS rounds where the file leaves that open."""
    entries = {entry.label: entry for entry in spec.implementations}
    measure = spec.measure
    if "repeats" not in measure.model_fields_set:
        measure = measure.model_copy(update={"repeats": ROUNDS})
    description = f"{candidate} against {base}, in turns. {spec.description}".strip()
    own = {"implementations": (entries[base], entries[candidate]), "measure": measure}
    return spec.model_copy(update={**own, "description": description})


def _by_point(sweep: Sweep, label: str) -> dict[str, Trial]:
    """The trials of one entry by where they are on the axes."""
    found = {}
    for trial in sweep.trials:
        if trial.implementation == label:
            found[json.dumps([trial.value(axis) for axis in sweep.spec.axes])] = trial
    return found


def is_of(directory: Path, duel: tuple[str, str] | None) -> bool:
    """Whether the sweep in `directory` is this duel; None: none at all."""
    try:
        held = json.loads((directory / META_FILE).read_bytes()).get("duel")
    except (OSError, ValueError, AttributeError):
        return duel is None
    return (None if held is None else tuple(held)) == duel


def judge(results: Results, fail_slower: float | None = None) -> Comparison:
    """Who won, row by row; see compare.compare for `fail_slower`.

    Raises:
        RequestError: the results are not a duel's.
    """
    if results.meta.duel is None:
        raise RequestError(f"{results.meta.sweep_id} is not a duel")
    base, candidate = results.meta.duel
    pairs, unmatched = pairs_of(results, fail_slower)
    return Comparison(
        base,
        candidate,
        corrected(pairs),
        tuple(unmatched),
        (),
        fail_slower,
        columns.columns(results, [pair.base for pair in pairs]),
        duel=results.meta.sweep_id,
    )


def pairs_of(
    results: Results, fail_slower: float | None = None, *, narrowing: bool = False
) -> tuple[list[Pair], list[Mapping[str, Any]]]:
    """The rows of a duel that were run, in pairs without a verdict yet, and those that were not.

    `narrowing`: the more rounds, the smaller a change that counts; see `Threshold.in_turns`.
    """
    half = len(results.rows) // 2
    pairs, unmatched = [], []
    for pair in zip(results.rows[:half], results.rows[half:], strict=True):
        missing = [row for row in pair if row.outcome is None]
        unmatched += [_not_run(row) for row in missing]
        if not missing:
            pairs.append(_pair(*pair, results.meta.device, fail_slower, narrowing))
    return pairs, unmatched


def _not_run(row: Row) -> Mapping[str, Any]:
    return {
        "implementation": row.implementation,
        "params": dict(row.params),
        "only_in": "neither (not run)",
    }


def pair(base: Row, candidate: Row, device: str) -> Pair:
    """The verdict on the rows of one duel by itself."""
    return corrected([_pair(base, candidate, device, None)])[0]


def _pair(
    base: Row, candidate: Row, device: str, fail_slower: float | None, narrowing: bool = False
) -> Pair:
    rounds = in_turns(base, candidate) if both_ok(base, candidate) else []
    if sum(min(map(len, pair)) // 2 for pair in rounds) < FEWEST_BLOCKS:
        return _without_ratio(base, candidate)
    found, spread = paired_ratio(rounds)
    if narrowing and spread is not None:
        threshold = Threshold.in_turns(spread, len(rounds), device, fail_slower)
    else:
        threshold = Threshold.of(base, candidate, spread, device, fail_slower)
    return timed_pair(base, candidate, found, threshold, measured=spread is not None)


def _without_ratio(base: Row, candidate: Row) -> Pair:
    verdict = Verdict.UNCLEAR
    if base.ok != candidate.ok:
        verdict = Verdict.NEWLY_FAILING if base.ok else Verdict.NEWLY_OK
    ends = (f"{row.implementation}: {row.outcome}" for row in (base, candidate) if not row.ok)
    return Pair(
        base,
        candidate,
        verdict,
        note="; ".join(ends) or "too few blocks in which both sides were timed",
    )


def in_turns(base: Row, candidate: Row) -> list[tuple[Values, Values]]:
    """The repetitions of both sides, of each round in which one process made both."""
    others = {(record.round, record.attempt): record for record in candidate.records}
    pairs = ((record, others.get((record.round, record.attempt))) for record in base.records)
    found = [
        (record.values_ms, other.values_ms)
        for record, other in pairs
        if other is not None and record.values_ms and other.values_ms
    ]
    return [pair for pair in found if min(map(len, pair)) >= 2]
