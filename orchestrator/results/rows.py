"""Rows: what a report shows of each planned trial: the attempt of each round that counts, pooled."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.metrics import Pooling, known
from orchestrator.outcome import DISTURBED, Flag, Outcome
from orchestrator.record import ErrorInfo, TrialRecord, log_of
from orchestrator.results.meta import SweepMeta
from orchestrator.trial import Trial

ENDED_BY_THE_MACHINE = (Outcome.OOM, Outcome.TIMEOUT, Outcome.LOST)


@dataclass(frozen=True)
class Row:
    """One planned trial and how it ended.

    Attributes:
        outcome: None: not run. Ok only if every round that ran was; else the outcome of the first that was not.
        flags: doubts about a row that is ok, of any round; `predicted` of one that is not.
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
    def is_disturbed(self) -> bool:
        """Whether any round was timed while others used the machine, or while it slowed itself down."""
        return self.ok and not DISTURBED.isdisjoint(self.flags)

    @property
    def log(self) -> str | None:
        """The log of this trial, relative to the sweep's directory; None: not run."""
        if self.outcome is None:
            return None
        return self.error.log if self.error and self.error.log else log_of(self.trial_id)

    def value(self, name: str) -> Any:
        """The value of an axis."""
        return self.trial.value(name)


def rows(meta: SweepMeta, records: Iterable[TrialRecord]) -> list[Row]:
    """One row per planned trial, in the order of the table; a planned trial without a record was not run."""
    by_trial: dict[str, list[TrialRecord]] = {}
    for record in records:
        by_trial.setdefault(record.trial_id, []).append(record)
    wanted = target_ci(meta)
    return [row_of(trial, by_trial.get(trial.trial_id, []), wanted) for trial in meta.planned]


def target_ci(meta: SweepMeta) -> float:
    """Half the width of the interval that a sweep aims at, as a fraction of the median."""
    return meta.spec.measure.for_device(meta.device).target_ci


def last_attempts(records: Sequence[TrialRecord]) -> tuple[TrialRecord, ...]:
    """The attempt of each round of one trial that counts, by round: the last, with one exception.

    A repeat for the sake of a disturbance that ends for want of memory or time, or is lost, takes
    no figure away: whatever disturbed the first attempt may be what ended the second. Of two
    records of one attempt the first counts.
    """
    last: dict[int, TrialRecord] = {}
    for record in records:
        held = last.get(record.round)
        if held is None or (record.attempt > held.attempt and not _is_vain_repeat(held, record)):
            last[record.round] = record
    return tuple(last[number] for number in sorted(last))


def _is_vain_repeat(held: TrialRecord, later: TrialRecord) -> bool:
    """Whether `later` repeated a disturbed attempt with the same code, and the machine ended it."""
    same = held.fingerprint == later.fingerprint
    return same and is_disturbed(held) and later.outcome in ENDED_BY_THE_MACHINE


def is_disturbed(record: TrialRecord) -> bool:
    """Whether figures are in doubt because of what else the machine did."""
    return record.outcome is Outcome.OK and not DISTURBED.isdisjoint(record.flags)


def row_of(trial: Trial, records: Sequence[TrialRecord], wanted: float | None = None) -> Row:
    """The row of one trial from its records, in the order they finished.

    Several rounds whose interval is wider than +-`wanted` of their median are noisy, whatever each was by itself.
    """
    last = last_attempts(records)
    if not last:
        return Row(trial)
    bad = next((record for record in last if record.outcome is not Outcome.OK), None)
    if bad is not None:
        flags = tuple(flag for flag in bad.flags if flag == Flag.PREDICTED)
        return Row(trial, bad.outcome, flags, notes=bad.notes, attempts=len(records), error=bad.error, records=last)
    metrics = _pooled(last)
    doubt = _too_wide(metrics, wanted) if len(last) > 1 and wanted is not None else ()
    return Row(
        trial,
        Outcome.OK,
        flags=_union([*(record.flags for record in last), (Flag.NOISY.value,) if doubt else ()]),
        notes=(*_notes(last), *doubt),
        metrics=metrics,
        rounds=tuple(record.values_ms or () for record in last),
        attempts=len(records),
        records=last,
    )


def _too_wide(metrics: Mapping[str, float | None], wanted: float) -> tuple[str, ...]:
    """A note where the interval over all rounds is wider than was aimed at."""
    median, low, high = (metrics.get(f"latency{end}_ms") for end in ("", "_ci_low", "_ci_high"))
    if not median or low is None or high is None or (high - low) / 2 <= wanted * median:
        return ()
    half = 100 * (high - low) / 2 / median
    return (f"interval over all rounds +-{half:.2g} % wide, target_ci is {100 * wanted:.2g} %",)


def _union(groups: Any) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for group in groups for name in group))


def _notes(records: Sequence[TrialRecord]) -> tuple[str, ...]:
    """Each note once: as it is where every round has it, else with the rounds that do."""
    found: dict[str, list[int]] = {}
    for record in records:
        for note in dict.fromkeys(record.notes):
            found.setdefault(note, []).append(record.round)
    return tuple(note if len(have) == len(records) else f"{_rounds(have)}: {note}" for note, have in found.items())


def _rounds(numbers: Sequence[int]) -> str:
    return f"round{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"


def _pooled(records: Sequence[TrialRecord]) -> dict[str, float | None]:
    """The metrics over all rounds: the latency by its hierarchical interval, the rest by what each means."""
    if len(records) == 1:
        return dict(records[0].metrics or {})
    figures = [record.metrics or {} for record in records]
    names = dict.fromkeys(name for metrics in figures for name in metrics)
    pooled = {name: known(name).pooled([metrics.get(name) for metrics in figures]) for name in names}
    rounds = [record.values_ms for record in records if record.values_ms]
    if rounds:
        from orchestrator.stats.summary import (
            pool,  # NumPy takes a while to import, and one round needs none of it
        )

        whole = pool(rounds)
        pooled |= {"latency_ms": whole.median, "latency_ci_low_ms": whole.ci_low, "latency_ci_high_ms": whole.ci_high}
        pooled |= {"noise_pct": whole.noise_pct, "round_spread": whole.round_spread}
        pooled["repetitions"] = float(whole.count)
        pooled |= _rates(figures, whole.median)
    return pooled


def _rates(figures: Sequence[Mapping[str, float | None]], latency_ms: float) -> dict[str, float | None]:
    """Rates follow from the pooled latency: what is done in one call is the same in every round."""
    first, before = figures[0], figures[0].get("latency_ms")
    if not before:
        return {}
    names = [name for name in first if known(name).pooling is Pooling.RATE]
    return {name: None if (rate := first[name]) is None else rate * before / latency_ms for name in names}
