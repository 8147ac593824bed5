"""What a sweep still has to do: attempts to make, retries, what a resumed journal already holds. Pure."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from orchestrator import registry
from orchestrator.errors import RequestError
from orchestrator.expression import check, condition
from orchestrator.plan import names_of
from orchestrator.record import Fingerprint, Outcome, TrialRecord, fingerprint
from orchestrator.source import source_hash
from orchestrator.sweep import Sweep
from orchestrator.trial import Attempt, Trial, content_hash

RERUNS = ("failed", "stale", "all")
Key = tuple[str, int]  # trial_id, round


@dataclass(frozen=True)
class Stale:
    """A finished attempt whose fingerprint no longer holds: which of source, environment and protocol changed."""

    record: TrialRecord
    changed: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.record.implementation} {self.record.trial_id}: {' and '.join(self.changed)} changed"


class Agenda:
    """The attempts left to make, in order: round after round, each shuffled by the recorded seed.

    With one round the order is the table's.

    Args:
        sweep: what was asked.
        sweep_id: of the sweep.
        device: "cpu" or "cuda".
        records: what the journal already holds.
    """

    def __init__(self, sweep: Sweep, sweep_id: str, device: str, records: Iterable[TrialRecord] = ()) -> None:
        self.sweep = sweep
        self._sweep_id = sweep_id
        self._device = device
        self._sources = sources(sweep)
        self._trials = {trial.trial_id: trial for trial in sweep.trials}
        self._last: dict[Key, TrialRecord] = {}
        for record in records:
            self._note(record)
        self._pending: deque[Attempt] = deque(self._unfinished())

    def __len__(self) -> int:
        return len(self._pending)

    @property
    def total(self) -> int:
        """Trials times rounds."""
        return len(self._trials) * self.sweep.spec.measure.repeats

    def next(self) -> Attempt:
        """The next attempt to make."""
        return self._pending.popleft()

    def put_back(self, attempts: Sequence[Attempt]) -> None:
        """Attempts that were taken and not started."""
        self._pending.extendleft(reversed(attempts))

    def finished(self, record: TrialRecord) -> bool:
        """Note how an attempt ended; True when it is to be made again, as `retries` says."""
        self._note(record)
        if not self._may_retry(record):
            return False
        self._pending.append(self._attempt(self._trials[record.trial_id], record.round))
        return True

    def stale(self, environments: Sequence[Mapping[str, object]]) -> list[Stale]:
        """Finished attempts of this sweep that would not be the same today, on any slot with these environments."""
        return [
            Stale(record, changed)
            for record in self._last.values()
            if record.trial_id in self._trials and record.outcome is not Outcome.LOST
            if (changed := self._changed(record, environments))
        ]

    def rerun(self, rule: str, environments: Sequence[Mapping[str, object]]) -> None:
        """Queue finished attempts again: `failed`, `stale`, `all`, or those for which an expression holds.

        Raises:
            RequestError: the rule is none of these.
        """
        stale = {(found.record.trial_id, found.record.round) for found in self.stale(environments)}
        if rule not in RERUNS:
            check(rule, {*next(iter(map(names_of, self._trials.values()))), "outcome"})
        queued = {(attempt.trial.trial_id, attempt.round) for attempt in self._pending}
        for key, record in self._last.items():
            if key[0] in self._trials and key not in queued and self._is_chosen(rule, record, key in stale):
                self._pending.append(self._attempt(self._trials[key[0]], key[1]))

    def _is_chosen(self, rule: str, record: TrialRecord, is_stale: bool) -> bool:
        if rule == "stale":
            return is_stale
        if rule == "failed":
            return record.outcome is not Outcome.OK
        names = {**names_of(self._trials[record.trial_id]), "outcome": str(record.outcome)}
        return rule == "all" or condition(rule, names)

    def _note(self, record: TrialRecord) -> None:
        key = (record.trial_id, record.round)
        held = self._last.get(key)
        if held is None or record.attempt > held.attempt:
            self._last[key] = record

    def _unfinished(self) -> Iterator[Attempt]:
        repeats = self.sweep.spec.measure.repeats
        for number in range(1, repeats + 1):
            trials = list(self.sweep.trials)
            if repeats > 1:
                random.Random(f"{self.sweep.spec.seed} {number}").shuffle(trials)
            for trial in trials:
                held = self._last.get((trial.trial_id, number))
                if held is None or (held.outcome is Outcome.LOST and self._may_retry(held)):
                    yield self._attempt(trial, number)

    def _may_retry(self, record: TrialRecord) -> bool:
        allowed = getattr(self.sweep.spec.retries, str(record.outcome), 0)
        return record.attempt <= allowed

    def _attempt(self, trial: Trial, number: int) -> Attempt:
        held = self._last.get((trial.trial_id, number))
        spec = self.sweep.spec
        return Attempt(
            sweep_id=self._sweep_id,
            trial=trial,
            workload=spec.workload,
            base_dir=self.sweep.base_dir,
            device=self._device,
            seed=input_seed(spec.seed, trial),
            protocol=spec.measure.for_device(self._device),
            verify=spec.verify,
            resources=self.sweep.resources(trial, self._device),
            round=number,
            attempt=held.attempt + 1 if held else 1,
            source=self._sources[trial.implementation],
        )

    def _changed(self, record: TrialRecord, environments: Sequence[Mapping[str, object]]) -> tuple[str, ...]:
        attempt = self._attempt(self._trials[record.trial_id], record.round)
        prints = [fingerprint(attempt, environment) for environment in environments]
        differences = [_differences(record.fingerprint, print_) for print_ in prints]
        return min(differences, key=len, default=())


def input_seed(seed: int, trial: Trial) -> int:
    """The seed of a trial's inputs: the same for every implementation at one point, another at each point."""
    return int(content_hash([seed, trial.params]), 16) % 2**63


def sources(sweep: Sweep) -> dict[str, str]:
    """Label -> hash of the source code that defines the implementation and the workload."""
    known = registry.workloads()
    workload = registry.locate(known.get(sweep.spec.workload, sweep.spec.workload), sweep.base_dir, known, "workload")
    return {
        entry.label: source_hash(registry.implementation_target(entry.use, sweep.base_dir), workload)
        for entry in sweep.spec.implementations
    }


def _differences(was: Fingerprint, now: Fingerprint) -> tuple[str, ...]:
    return tuple(name for name in ("source", "environment", "protocol") if getattr(was, name) != getattr(now, name))


def refuse_stale(stale: Sequence[Stale], go_on: str) -> None:
    """Refuse to mix two states of the world in one table.

    Raises:
        RequestError: there are stale rows; they are named.
    """
    if stale:
        shown = [f"  {found}" for found in stale[:10]] + ([f"  and {len(stale) - 10} more"] if len(stale) > 10 else [])
        raise RequestError(
            "\n".join([f"{len(stale)} finished rows no longer hold:", *shown, f"run them again: {go_on} --rerun stale"])
        )
