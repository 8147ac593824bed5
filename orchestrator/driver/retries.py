"""Whether an attempt is made again: after an outcome that is retried, or after a disturbance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from orchestrator.outcome import DISTURBED, Flag, Outcome
from orchestrator.record import TrialRecord
from orchestrator.spec.models import RetrySpec
from orchestrator.trial import RoundKey

MOST_FRUITLESS = 3  # repeats in a row that were disturbed again: the disturbance is permanent
FIRST = 3  # attempts of a sweep that, when all are disturbed, say so before anything is repeated


@dataclass
class Attempts:
    """The attempts of every trial, or of the second trials of a paired comparison.

    Attributes:
        last: the newest record of each round.
        ended: how many attempts of each round ended with each outcome.
    """

    last: dict[RoundKey, TrialRecord] = field(default_factory=dict)
    ended: Counter[tuple[RoundKey, Outcome]] = field(default_factory=Counter)

    def add(self, key: RoundKey, record: TrialRecord) -> bool:
        """Keep the record; False if a newer one, or one of the same attempt, is already known."""
        held = self.last.get(key)
        if held is not None and record.attempt <= held.attempt:
            return False
        self.last[key] = record
        self.ended[key, record.outcome] += 1
        return True

    def forget_counts(self, keys: Iterable[RoundKey]) -> None:
        """Grant these rounds every retry again."""
        chosen = set(keys)
        for key, outcome in list(self.ended):
            if key in chosen:
                del self.ended[key, outcome]


class Retries:
    """What was tried of each round, and whether one more attempt is due.

    Every decision is a function of the journal's records in their order, so that a resumed sweep
    decides as the first run did. Records of a pair's second trial are kept under the key of the
    first, whose attempt made both.

    Args:
        allowed: retries per outcome (`retries` of the sweep file).
        remeasure: how often a disturbed ok attempt is repeated (`measure.remeasure`).
        times: whether the sweep asks for figures at all.

    Attributes:
        first: attempts of each trial; of a paired comparison, of the first of each pair.
        second: attempts of the second of each pair.
    """

    def __init__(self, allowed: RetrySpec, remeasure: int, times: bool) -> None:
        self.first = Attempts()
        self.second = Attempts()
        self._allowed = allowed
        self._remeasure = remeasure
        self._times = times
        self._tries: Counter[RoundKey] = Counter()
        self._again: dict[RoundKey, bool] = {}
        self._fruitless = 0
        self._first_disturbed: int | None = 0  # None: an undisturbed attempt was among the first

    def add(self, record: TrialRecord) -> bool:
        """Record how an attempt ended; True if it shows that the disturbance is permanent."""
        key = (record.trial_id, record.round)
        before = self._fruitless
        self._tries[key] = max(self._tries[key], record.attempt)
        if self.first.add(key, record):
            self._again[key] = self._is_worth_repeating(key, record)
        return before < MOST_FRUITLESS <= self._fruitless

    def add_second(self, key: RoundKey, record: TrialRecord) -> None:
        """Record how a pair's second trial ended; `key` is the first's."""
        self._tries[key] = max(self._tries[key], record.attempt)
        self.second.add(key, record)

    def next_attempt(self, key: RoundKey) -> int:
        """The number of the next attempt of a round, from 1."""
        return self._tries[key] + 1

    def is_unfinished(self, key: RoundKey) -> bool:
        """Whether a round has no record yet, or one that is to be retried."""
        held = self.first.last.get(key)
        return held is None or self.is_due(held)

    def is_due(self, record: TrialRecord) -> bool:
        """Whether the round of this record (a first trial's) is to be attempted once more."""
        key = (record.trial_id, record.round)
        second = self.second.last.get(key)
        if second is not None and self._is_retried(key, second, self.second):
            return True
        if record.outcome is Outcome.OK:
            return self._again[key]
        return self._is_retried(key, record, self.first)

    def is_disturbed(self, record: TrialRecord) -> bool:
        """Whether an ok record was timed while something else used or throttled the machine."""
        is_timed = self._times and record.outcome is Outcome.OK
        return is_timed and not DISTURBED.isdisjoint(record.flags)

    def repeat(self, keys: Iterable[RoundKey]) -> None:
        """Attempt these rounds again whatever their records say."""
        self._again |= dict.fromkeys(keys, True)

    def start_over(self, keys: Iterable[RoundKey]) -> None:
        """Forget how often these rounds were tried: whoever asks again is given all retries."""
        chosen = set(keys)
        self.first.forget_counts(chosen)
        self.second.forget_counts(chosen)
        self._again |= dict.fromkeys(chosen, False)  # a disturbance of an earlier attempt is past

    def stop_remeasuring(self) -> list[RoundKey]:
        """Accept the results that were waiting to be measured again; returns their rounds."""
        waiting = [key for key, again in self._again.items() if again]
        self._again |= dict.fromkeys(waiting, False)
        return waiting

    def _is_worth_repeating(self, key: RoundKey, record: TrialRecord) -> bool:
        """Whether a disturbed attempt is repeated: not where the last few repeats were disturbed
        too.
        """
        if not self.is_disturbed(record):
            if record.outcome is Outcome.OK and Flag.SCREENED.value not in record.flags:
                self._fruitless = 0
                self._first_disturbed = None
            return False
        if self._first_disturbed is not None:
            self._first_disturbed += 1
            if self._first_disturbed == FIRST:
                self._fruitless = MOST_FRUITLESS
        repeats = self.first.ended[key, Outcome.OK]
        if repeats > 1:
            self._fruitless += 1
        return repeats <= self._remeasure and self._fruitless < MOST_FRUITLESS

    def _is_retried(self, key: RoundKey, record: TrialRecord, side: Attempts) -> bool:
        """Whether `retries` of the sweep file grants an attempt that ended so one more."""
        if record.outcome is Outcome.OK or Flag.PREDICTED.value in record.flags:
            return False
        allowed = getattr(self._allowed, str(record.outcome), 0)
        return side.ended[key, record.outcome] <= allowed
