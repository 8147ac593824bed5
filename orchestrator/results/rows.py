"""Pools records into the rows of a report: of each round of a trial the attempt that counts."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.metrics import Pooling, known
from orchestrator.outcome import DISTURBED, UNRANKED, Flag, Outcome
from orchestrator.record import ErrorInfo, KernelShare, TrialRecord, log_of
from orchestrator.results.meta import SweepMeta
from orchestrator.stats.percentiles import SHARES, percentile
from orchestrator.trial import Trial

ENDED_BY_THE_MACHINE = (Outcome.OOM, Outcome.TIMEOUT, Outcome.LOST)


@dataclass(frozen=True)
class Row:
    """One planned trial and how it ended.

    Attributes:
        outcome: ok if every round that ran was ok, else that of the first that was not; None: not
            run.
        flags: warnings on a row that is ok, of any round; `predicted` on one that is not.
        metrics: figures by name, over all rounds; empty unless ok.
        rounds: the repetitions of each round in milliseconds per call; empty unless ok.
        attempts: records made of this trial, retries included.
        records: the record of each round that counts, in the order of the rounds.
    """

    trial: Trial
    outcome: Outcome | None = None
    flags: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    rounds: tuple[tuple[float, ...], ...] = ()
    attempts: int = 0
    error: ErrorInfo | None = None
    records: tuple[TrialRecord, ...] = ()

    @property
    def trial_id(self) -> str:
        """The trial's content hash."""
        return self.trial.trial_id

    @property
    def implementation(self) -> str:
        """The label of the implementation's entry."""
        return self.trial.implementation

    @property
    def params(self) -> Mapping[str, Any]:
        """The trial's params, resolved."""
        return self.trial.params

    @property
    def ok(self) -> bool:
        """Whether the row has figures."""
        return self.outcome is Outcome.OK

    @property
    def is_screened(self) -> bool:
        """Whether its figures are of a process that other candidates of a search shared."""
        return self.ok and Flag.SCREENED.value in self.flags

    @property
    def is_disturbed(self) -> bool:
        """Whether any round was timed under contention or throttling, which no interval shows."""
        return self.ok and not DISTURBED.isdisjoint(self.flags)

    @property
    def is_ranked(self) -> bool:
        """Whether its time may be held against another's to say which is faster."""
        return self.ok and UNRANKED.isdisjoint(self.flags) and bool(self.metrics.get("latency_ms"))

    @property
    def reused_from(self) -> str:
        """The id of the sweep that measured it; empty: its own, or it was not run."""
        if not self.records:
            return ""
        return self.records[0].reused_from

    @property
    def log(self) -> str | None:
        """The log of this trial, relative to the sweep's directory; None: not run."""
        if self.outcome is None:
            return None
        if self.error is not None and self.error.log:
            return self.error.log
        return log_of(self.trial_id)

    @property
    def kernels(self) -> tuple[KernelShare, ...]:
        """What one call ran, in the last round that was profiled; empty: none was."""
        for record in reversed(self.records):
            if record.kernels:
                return record.kernels
        return ()

    def value(self, name: str) -> Any:
        """The value of an axis."""
        return self.trial.value(name)


def rows(meta: SweepMeta, records: Iterable[TrialRecord]) -> list[Row]:
    """One row per planned trial, in table order; a trial without a record was not run."""
    by_trial: dict[str, list[TrialRecord]] = {}
    for record in records:
        by_trial.setdefault(record.trial_id, []).append(record)
    wanted = target_ci(meta)
    return [row_of(trial, by_trial.get(trial.trial_id, []), wanted) for trial in meta.planned]


def target_ci(meta: SweepMeta) -> float:
    """Half the width of the interval to reach, as a fraction of the median."""
    return meta.spec.measure.for_device(meta.device).target_ci


def last_attempts(records: Sequence[TrialRecord]) -> tuple[TrialRecord, ...]:
    """The attempt that counts of each round of one trial, by round: the last, with one exception.

    If a disturbed attempt is repeated and the repeat ends as out of memory, timeout or lost, the
    disturbed one still counts: what disturbed it may be what ended the repeat. Of two records of
    one attempt the first counts.
    """
    last: dict[int, TrialRecord] = {}
    for record in records:
        held = last.get(record.round)
        if held is None or (record.attempt > held.attempt and not _is_failed_repeat(held, record)):
            last[record.round] = record
    return tuple(last[number] for number in sorted(last))


def _is_failed_repeat(held: TrialRecord, later: TrialRecord) -> bool:
    """Whether `later` repeated a disturbed attempt with the same code, and the machine ended it."""
    if held.fingerprint != later.fingerprint:
        return False
    return is_disturbed(held) and later.outcome in ENDED_BY_THE_MACHINE


def is_disturbed(record: TrialRecord) -> bool:
    """Whether the attempt is ok, but was timed under contention or throttling."""
    return record.outcome is Outcome.OK and not DISTURBED.isdisjoint(record.flags)


def row_of(trial: Trial, records: Sequence[TrialRecord], wanted: float | None = None) -> Row:
    """The row of one trial from its records, in the order they finished.

    Several rounds get the flag `noisy` if the interval over all of them is wider than +-`wanted` of
    their median.
    """
    last = last_attempts(records)
    if not last:
        return Row(trial)
    for record in last:
        if record.outcome is Outcome.OK:
            continue
        # The other flags doubt a figure, which such a row has not.
        flags_of_failed = (Flag.PREDICTED.value,) if Flag.PREDICTED.value in record.flags else ()
        return Row(
            trial,
            record.outcome,
            flags_of_failed,
            notes=record.notes,
            attempts=len(records),
            error=record.error,
            records=last,
        )
    rounds = tuple(record.values_ms or () for record in last)
    metrics = {**_pooled(last), **_percentiles(rounds)}
    flags: dict[str, None] = {}  # a set that keeps the order
    for record in last:
        flags |= dict.fromkeys(record.flags)
    notes = _notes(last)
    if len(last) > 1 and wanted is not None:
        reason = _too_wide(metrics, wanted)
        if reason:
            flags[Flag.NOISY.value] = None
            notes.append(reason)
    return Row(
        trial,
        Outcome.OK,
        flags=tuple(flags),
        notes=tuple(notes),
        metrics=metrics,
        rounds=rounds,
        attempts=len(records),
        records=last,
    )


def latency(metrics: Mapping[str, float | None]) -> tuple[float | None, float | None, float | None]:
    """Median and both ends of its interval, in milliseconds; None where a record has none."""
    return (
        metrics.get("latency_ms"),
        metrics.get("latency_ci_low_ms"),
        metrics.get("latency_ci_high_ms"),
    )


def _too_wide(metrics: Mapping[str, float | None], wanted: float) -> str:
    """A note if the interval over all rounds is wider than wanted; else ""."""
    median, low, high = latency(metrics)
    if not median or low is None or high is None or (high - low) / 2 <= wanted * median:
        return ""
    half = 100 * (high - low) / 2 / median
    return f"interval over all rounds +-{half:.2g} % wide, target_ci is {100 * wanted:.2g} %"


def _notes(records: Sequence[TrialRecord]) -> list[str]:
    """Each note once; with its rounds, if not every round has it."""
    found: dict[str, list[int]] = {}
    for record in records:
        for note in dict.fromkeys(record.notes):
            found.setdefault(note, []).append(record.round)
    notes = []
    for note, numbers in found.items():
        if len(numbers) == len(records):
            notes.append(note)
        else:
            name = "rounds" if len(numbers) > 1 else "round"
            notes.append(f"{name} {', '.join(map(str, numbers))}: {note}")
    return notes


def _pooled(records: Sequence[TrialRecord]) -> dict[str, float | None]:
    """The metrics over all rounds: latency by `stats.pool`, each other by its own rule."""
    if len(records) == 1:
        return dict(records[0].metrics or {})
    figures = [record.metrics or {} for record in records]
    names: dict[str, None] = {}  # a set that keeps the order
    for metrics in figures:
        names |= dict.fromkeys(metrics)
    pooled: dict[str, float | None] = {}
    for name in names:
        values = [metrics.get(name) for metrics in figures]
        pooled[name] = known(name).pooled(values)
    rounds = [record.values_ms for record in records if record.values_ms]
    if rounds:
        # NumPy is slow to import, and a single round does not need it.
        from orchestrator.stats.summary import pool

        whole = pool(rounds)
        pooled |= {
            "latency_ms": whole.median,
            "latency_ci_low_ms": whole.ci_low,
            "latency_ci_high_ms": whole.ci_high,
        }
        pooled |= {"noise_pct": whole.noise_pct, "round_spread": whole.round_spread}
        pooled["repetitions"] = float(whole.count)
        pooled |= _rates(figures, whole.median)
    return pooled


def _percentiles(rounds: Iterable[Sequence[float]]) -> dict[str, float]:
    """Of the repetitions of all rounds together, in milliseconds, under their metrics' names."""
    ordered = sorted(itertools.chain.from_iterable(rounds))
    found: dict[str, float] = {}
    if ordered:
        for name, share in SHARES.items():
            found[f"latency_{name}_ms"] = percentile(ordered, share)
    return found


def _rates(
    figures: Sequence[Mapping[str, float | None]], latency_ms: float
) -> dict[str, float | None]:
    """Rates by the pooled latency: the work of one call is the same in every round."""
    first, before = figures[0], figures[0].get("latency_ms")
    if not before:
        return {}
    rates: dict[str, float | None] = {}
    for name, rate in first.items():
        if known(name).pooling is not Pooling.RATE:
            continue
        if rate is None:
            rates[name] = None
        else:
            rates[name] = rate * before / latency_ms
    return rates
