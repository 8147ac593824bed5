"""A duel: two implementations of one sweep file, measured in turns at each point that both have.

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
    """The sweep that measures only `base` and `candidate`, labels of its entries, in turns.

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
            "compare --duel measures on one model of accelerator: "
            "choose it by resources.accelerator"
        )
    by_point, others = _by_point(sweep, base), _by_point(sweep, candidate)
    firsts, seconds, rivals = [], [], {}
    for point, first in by_point.items():
        if point in others:
            firsts.append(first)
            seconds.append(others[point])
            rivals[first.trial_id] = others[point]
    if not firsts:
        raise RequestError(
            f"nothing to compare: {base} and {candidate} have no point of the axes in common"
        )
    spec = _narrowed(sweep.spec, base, candidate)
    trials = (*firsts, *seconds)  # `pairs_of` takes the rows apart in the middle
    text = f"{len(firsts)} points with a trial of {base} and one of {candidate}, measured in turns"
    plan = Plan(trials, (*sweep.plan.steps, Step(text, len(trials))))
    return replace(sweep, spec=spec, plan=plan, rivals=rivals)


def _refuse_labels(sweep: Sweep, base: str, candidate: str) -> None:
    for label in (base, candidate):
        if label not in sweep.entries:
            near = suggestion(label, sweep.entries)
            raise RequestError(f"the sweep has no implementation labelled {label!r}{near}")
    if base == candidate:
        raise RequestError(
            f"{base} against itself: give it a second entry under another label, "
            f"{{use: ..., label: {base}-again}}, to see what a duel makes of no difference"
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
            point = [trial.value(axis) for axis in sweep.spec.axes]
            found[json.dumps(point)] = trial
    return found


def is_of(directory: Path, duel: tuple[str, str] | None) -> bool:
    """Whether the sweep in `directory` is this duel; None: none at all."""
    try:
        held = json.loads((directory / META_FILE).read_bytes()).get("duel")
    except (OSError, ValueError, AttributeError):
        return duel is None
    if held is None:
        return duel is None
    return tuple(held) == duel


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
    half = len(results.rows) // 2  # first every row of the base, then every one of the candidate
    pairs: list[Pair] = []
    unmatched: list[Mapping[str, Any]] = []
    for base, candidate in zip(results.rows[:half], results.rows[half:], strict=True):
        missing = [row for row in (base, candidate) if row.outcome is None]
        if not missing:
            pairs.append(_pair(base, candidate, results.meta.device, fail_slower, narrowing))
        for row in missing:
            not_run = {
                "implementation": row.implementation,
                "params": dict(row.params),
                "only_in": "neither (not run)",
            }
            unmatched.append(not_run)
    return pairs, unmatched


def pair(base: Row, candidate: Row, device: str) -> Pair:
    """The verdict on the rows of one duel by itself."""
    return corrected([_pair(base, candidate, device, None)])[0]


def _pair(
    base: Row, candidate: Row, device: str, fail_slower: float | None, narrowing: bool = False
) -> Pair:
    rounds = []
    if both_ok(base, candidate):
        rounds = in_turns(base, candidate)
    blocks = sum(min(len(was), len(now)) // 2 for was, now in rounds)
    if blocks < FEWEST_BLOCKS:
        return _without_ratio(base, candidate)
    found, spread = paired_ratio(rounds)
    if narrowing and spread is not None:
        threshold = Threshold.in_turns(spread, len(rounds), device, fail_slower)
    else:
        threshold = Threshold.of(base, candidate, spread, device, fail_slower)
    return timed_pair(base, candidate, found, threshold, measured=spread is not None)


def _without_ratio(base: Row, candidate: Row) -> Pair:
    verdict = Verdict.UNCLEAR
    if base.ok and not candidate.ok:
        verdict = Verdict.NEWLY_FAILING
    elif candidate.ok and not base.ok:
        verdict = Verdict.NEWLY_OK
    ends = []
    for row in (base, candidate):
        if not row.ok:
            ends.append(f"{row.implementation}: {row.outcome}")
    note = "; ".join(ends) or "too few blocks in which both sides were timed"
    return Pair(base, candidate, verdict, note=note)


def in_turns(base: Row, candidate: Row) -> list[tuple[Values, Values]]:
    """The repetitions of both sides, of each round in which one process made both."""
    others = {(record.round, record.attempt): record for record in candidate.records}
    found: list[tuple[Values, Values]] = []
    for record in base.records:
        other = others.get((record.round, record.attempt))
        if other is None:
            continue
        was, now = record.values_ms or (), other.values_ms or ()
        if min(len(was), len(now)) >= 2:
            found.append((was, now))
    return found
