"""What need not be run: cells of a grid that are larger than one that was out of memory."""

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

PREDICTED = "Predicted"


class OomPrediction:
    """Rules cells out by what was out of memory, where the sweep says `predict: true`.

    A cell is ruled out by a smaller one of the same implementation and options: at least as large along every axis
    along which the workload's own formula moves more bytes, the same along every other, and no smaller in any param
    that follows from them.
    """

    def __init__(self, sweep: Sweep) -> None:
        self._sweep = sweep
        self._active = sweep.spec.predict
        self._bytes = {trial.trial_id: _bytes(sweep, trial) for trial in sweep.trials} if self._active else {}
        self._growing = {axis for axis in sweep.spec.axes if self._active and self._grows(axis)}
        self._trials = {trial.trial_id: trial for trial in sweep.trials}
        self._kin = {trial.trial_id: self._kind(trial) for trial in sweep.trials} if self._active else {}
        self._out: dict[str, dict[RoundKey, TrialRecord]] = {kind: {} for kind in self._kin.values()}

    def in_order(self) -> list[Trial]:
        """The sweep's trials, implementation by implementation; the smallest first, where that spares others."""
        if not self._active:
            return list(self._sweep.trials)
        place = {label: number for number, label in enumerate(self._sweep.entries)}
        return sorted(self._sweep.trials, key=lambda each: (place[each.implementation], self._bytes[each.trial_id]))

    def learn(self, record: TrialRecord) -> None:
        """Take note of how a trial ended; what was not run rules nothing out."""
        if record.trial_id not in self._kin:
            return
        out = self._out[self._kin[record.trial_id]]
        if record.outcome is Outcome.OOM and Flag.PREDICTED.value not in record.flags:
            out[record.trial_id, record.round] = record
        else:
            out.pop((record.trial_id, record.round), None)

    def invalidate(self, keys: Iterable[RoundKey]) -> None:
        """These are to be run again: until they have, they rule nothing out."""
        for trial_id, number in keys:
            if trial_id in self._kin:
                self._out[self._kin[trial_id]].pop((trial_id, number), None)

    def predict(self, attempt: Attempt) -> TrialRecord | None:
        """The record of an attempt whose end is known without making it; None: it must be made."""
        if not self._active:
            return None
        out = self._out[self._kin[attempt.trial.trial_id]]
        out.pop((attempt.trial.trial_id, attempt.round), None)  # made again, it rules nothing out before it ends
        for (trial_id, _), record in out.items():
            smaller = self._trials[trial_id]
            if _rules_out(smaller, attempt.trial):
                return _record(attempt, record, self._differences(smaller))
        return None

    def _kind(self, trial: Trial) -> str:
        """What two trials have in common of which one may rule out the other: all but what grows, or follows."""
        fixed = [trial.value(axis) for axis in self._sweep.spec.axes if axis not in self._growing]
        return repr([trial.implementation, trial.use, sorted(trial.options.items()), fixed])

    def _grows(self, axis: str) -> bool:
        """Whether more of this axis is more to hold, wherever nothing else differs."""
        groups: dict[str, list[tuple[float, float]]] = {}
        for trial in self._sweep.trials:
            value = trial.value(axis)
            if isinstance(value, bool) or not isinstance(value, int | float) or axis.startswith("options."):
                return False
            others = [trial.implementation, *(trial.value(name) for name in self._sweep.spec.axes if name != axis)]
            groups.setdefault(repr(others), []).append((value, self._bytes[trial.trial_id]))
        sizes = [[size for _, size in sorted(group)] for group in groups.values()]
        steps = [step for group in sizes for step in itertools.pairwise(group)]
        return bool(steps) and all(less < more for less, more in steps)

    def _differences(self, trial: Trial) -> Mapping[str, Any]:
        return {name: trial.value(name) for name in self._sweep.spec.axes}


def _record(attempt: Attempt, ruling: TrialRecord, point: Mapping[str, Any]) -> TrialRecord:
    where = " ".join(f"{name}={value}" for name, value in point.items())
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
    """Whether a trial of the same kind is another, and nowhere larger."""
    return smaller.trial_id != larger.trial_id and all(
        _as_large(value, larger.params[name]) for name, value in smaller.params.items()
    )


def _as_large(small: Any, large: Any) -> bool:
    """Whether a param is the same, or a number or a list of numbers nowhere smaller."""
    if isinstance(small, list) and isinstance(large, list) and len(small) == len(large):
        return all(map(_as_large, small, large))
    numbers = [value for value in (small, large) if isinstance(value, int | float) and not isinstance(value, bool)]
    return numbers[0] <= numbers[1] if len(numbers) == 2 else bool(small == large)


def _bytes(sweep: Sweep, trial: Trial) -> float:
    """The bytes that the trial must move, by the workload's formula; 0 where it fails."""
    known = registry.implementations()
    form = known[trial.use].form if trial.use in known else sweep.workload.forms[0]
    with suppress(Exception):  # a user's function; the trial itself says why
        return float(sweep.workload.work(sweep.params(trial), form).bytes)
    return 0.0
