"""Out-of-memory prediction (`predict: true`).

Skips trials that need at least as much memory as one that already ended as `oom`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from orchestrator.outcome import Flag, Outcome, Phase
from orchestrator.plan.sweep import Sweep
from orchestrator.record import ErrorInfo, TrialRecord, fingerprint, log_of, record_of, utc_now
from orchestrator.trial import Attempt, RoundKey, Trial
from orchestrator.usercode import registry
from orchestrator.util.quantities import is_number

PREDICTED = "Predicted"


class OomPrediction:
    """Predicts `oom` from smaller trials that ended so, if the sweep says `predict: true`.

    A trial rules out another of the same implementation and options that is at least as large along
    every growing axis, equal along every other axis, and no smaller in any derived param. An axis
    grows if by the workload's formula more of it always moves more bytes.
    """

    def __init__(self, sweep: Sweep) -> None:
        self._sweep = sweep
        self._active = sweep.spec.predict
        self._trials = {trial.trial_id: trial for trial in sweep.trials}
        self._bytes: dict[str, float] = {}
        self._groups: dict[str, str] = {}  # trial_id -> the trials that may rule it out
        self._out: dict[str, dict[RoundKey, TrialRecord]] = {}  # by group
        if not self._active:
            return
        for trial in sweep.trials:
            self._bytes[trial.trial_id] = _bytes(sweep, trial)
        fixed_axes = [axis for axis in sweep.spec.axes if not self._grows(axis)]
        for trial in sweep.trials:
            fixed = [trial.value(axis) for axis in fixed_axes]
            options = sorted(trial.options.items())
            group = repr([trial.implementation, trial.use, options, fixed])
            self._groups[trial.trial_id] = group
            self._out[group] = {}

    def in_order(self) -> list[Trial]:
        """The trials, implementation by implementation; with prediction the smallest first."""
        if not self._active:
            return list(self._sweep.trials)
        place = {label: number for number, label in enumerate(self._sweep.entries)}

        def order(trial: Trial) -> tuple[int, float]:
            return place[trial.implementation], self._bytes[trial.trial_id]

        return sorted(self._sweep.trials, key=order)

    def learn(self, record: TrialRecord) -> None:
        """Record how a trial ended. A predicted `oom` rules nothing out itself."""
        if record.trial_id not in self._groups:
            return
        out = self._out[self._groups[record.trial_id]]
        if record.outcome is Outcome.OOM and Flag.PREDICTED.value not in record.flags:
            out[record.trial_id, record.round] = record
        else:
            out.pop((record.trial_id, record.round), None)

    def invalidate(self, keys: Iterable[RoundKey]) -> None:
        """Until these rounds have run again, let them rule nothing out."""
        for trial_id, number in keys:
            if trial_id in self._groups:
                self._out[self._groups[trial_id]].pop((trial_id, number), None)

    def predict(self, attempt: Attempt) -> TrialRecord | None:
        """The record of an attempt whose end is known without making it; None: it must be made."""
        if not self._active:
            return None
        out = self._out[self._groups[attempt.trial.trial_id]]
        out.pop((attempt.trial.trial_id, attempt.round), None)  # it runs again
        for (trial_id, _), record in out.items():
            smaller = self._trials[trial_id]
            if _rules_out(smaller, attempt.trial):
                point = {name: smaller.value(name) for name in self._sweep.spec.axes}
                return _predicted(attempt, record, point)
        return None

    def _grows(self, axis: str) -> bool:
        """Whether trials that differ in this axis alone always move more bytes with more of it."""
        groups: dict[str, list[tuple[float, float]]] = {}
        for trial in self._sweep.trials:
            value = trial.value(axis)
            if axis.startswith("options.") or not is_number(value):
                return False
            others = [trial.value(name) for name in self._sweep.spec.axes if name != axis]
            key = repr([trial.implementation, others])
            groups.setdefault(key, []).append((value, self._bytes[trial.trial_id]))
        compared = False
        for group in groups.values():
            for (_, smaller), (_, larger) in itertools.pairwise(sorted(group)):
                if smaller >= larger:
                    return False
                compared = True
        return compared


def _predicted(attempt: Attempt, ruling: TrialRecord, point: Mapping[str, Any]) -> TrialRecord:
    """The record of an attempt that is not made, because of the record `ruling`."""
    values = [f"{name}={value}" for name, value in point.items()]
    where = " ".join(values)
    message = f"not run: trial {ruling.trial_id} ({where}), which is smaller, was out of memory"
    own = fingerprint(attempt, {})
    return record_of(
        attempt,
        Outcome.OOM,
        Phase.BUILD,
        utc_now(),
        {},
        flags=(Flag.PREDICTED.value,),
        error=ErrorInfo.of(PREDICTED, message, log_of(ruling.trial_id)),
        fingerprint=own.model_copy(update={"environment": ruling.fingerprint.environment}),
        host=ruling.host,
        device=ruling.device,
    )


def _rules_out(smaller: Trial, larger: Trial) -> bool:
    """Whether `larger`, of the same group, is another trial and smaller in no param."""
    if smaller.trial_id == larger.trial_id:
        return False
    return all(_as_large(value, larger.params[name]) for name, value in smaller.params.items())


def _as_large(small: Any, large: Any) -> bool:
    """Whether a param is equal, or a number (or a list of numbers) nowhere smaller."""
    if isinstance(small, list) and isinstance(large, list) and len(small) == len(large):
        return all(map(_as_large, small, large))
    if is_number(small) and is_number(large):
        return small <= large
    return bool(small == large)


def _bytes(sweep: Sweep, trial: Trial) -> float:
    """The bytes that the trial must move by the workload's formula; 0 if the formula fails."""
    registered = registry.implementations()
    form = sweep.workload.forms[0]
    if trial.use in registered:
        form = registered[trial.use].form
    with suppress(Exception):  # a user's function: the trial's own record will say why
        return float(sweep.workload.work(sweep.params(trial), form).bytes)
    return 0.0
