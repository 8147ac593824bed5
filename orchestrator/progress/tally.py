"""Where a running sweep stands, from the executor's events: what is done, what runs, what failed,
what is left.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, product
from typing import Any

from orchestrator.executors.base import Event, Finished, PhaseChanged, SlotLost, SlotReady, Started
from orchestrator.formatting import axis_text, counted, duration, printable
from orchestrator.outcome import DISTURBED, Flag, Outcome, Phase
from orchestrator.progress.time_left import Estimator, one_each, useful_flops
from orchestrator.record import TrialRecord
from orchestrator.report.reasons import message
from orchestrator.results.columns import column_headings, known_workload
from orchestrator.results.meta import SweepMeta
from orchestrator.trial import Attempt, RoundKey, Trial

FAILURES = 5
RECENT = 8
BRIEF = 120  # characters of a reason while the sweep runs


@dataclass
class Running:
    """An attempt on a slot; `since` is the tally's clock when it started."""

    attempt: Attempt
    since: float
    phase: Phase | None = None


class Tally:
    """Counts, running attempts, last failures and the time left.

    Attributes:
        total: rounds of trials to be run; at most, where `bounded`: which ones, a search or a
            frontier finds out.
        done: the record of each round that ended for good, by trial and round.
        again: the record of each round that has a result and is to be tried again: measured while
            something disturbed it, or lost.
        attempts: how many attempts ended in this run; more than rounds where some were repeated.
        repeated: why attempts were repeated: a flag or an outcome, and how often.
        recent: the last few attempts that ended, newest first.
        slots: what each slot runs; None: idle.
        environments: what each slot said of its machine.
        failures: the last few attempts that did not end well, newest first, each with its record.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.total = 0
        self.bounded = False
        self.done: dict[RoundKey, TrialRecord] = {}
        self.again: dict[RoundKey, TrialRecord] = {}
        self.attempts = 0
        self.repeated: Counter[str] = Counter()
        self.recent: deque[Finished] = deque(maxlen=RECENT)
        self.slots: dict[int, Running | None] = {}
        self.environments: dict[int, Mapping[str, Any]] = {}
        self.failures: deque[Finished] = deque(maxlen=FAILURES)
        self.clock = clock
        self.began = clock()
        self._columns: tuple[str, ...] = ()
        self._estimator = Estimator()
        self._left: dict[RoundKey, Trial] = {}
        self._tried: set[RoundKey] = set()

    def start(self, meta: SweepMeta, records: Sequence[TrialRecord] = ()) -> None:
        """The sweep begins, or goes on from what its journal holds: their durations are measured
        ones, too.
        """
        self.began = self.clock()
        workload = known_workload(meta)
        self._columns = tuple(column_headings(meta))
        self._estimator = Estimator(useful_flops(workload) if workload is not None else one_each)
        rounds = range(1, meta.spec.measure.repeats + 1)
        self._left = {}
        for trial, number in product(meta.planned, rounds):
            self._left[trial.trial_id, number] = trial
        self.bounded = meta.at_most is not None
        self.total = len(self._left) if meta.at_most is None else meta.at_most * len(rounds)
        planned = dict(self._left)
        for record in records:
            key = (record.trial_id, record.round)
            if key not in planned:
                continue
            self._left.pop(key, None)
            self._estimator.learn(planned[key], duration_s(record))
            if key not in self.done or record.attempt > self.done[key].attempt:
                self.done[key] = record
        for trial in self._left.values():
            self._estimator.expect(trial)

    def event(self, event: Event) -> None:
        """Take note of what an executor reported."""
        match event:
            case SlotReady(slot, environment):
                self.slots.setdefault(slot, None)
                self.environments[slot] = environment
            case Started(attempt, slot):
                self._started(attempt, slot)
            case PhaseChanged(attempt, phase, slot):
                running = self.slots.get(slot)
                if running is not None and running.attempt.key == attempt.key:
                    running.phase = phase
            case Finished():
                self._finished(event)
            case SlotLost(slot):
                self.slots.pop(slot, None)

    @property
    def measured(self) -> int:
        """How many rounds have a result, whether or not they are to be tried again."""
        return len(self.done) + len(self.again)

    @property
    def outcomes(self) -> Counter[str]:
        """How many rounds ended how; those that are to be tried again are not among them."""
        return Counter(str(record.outcome) for record in self.done.values())

    @property
    def flags(self) -> Counter[str]:
        """How many rounds that are ok carry each flag."""
        return Counter(chain.from_iterable(record.flags for record in self.done.values()))

    @property
    def waiting(self) -> Counter[str]:
        """Why rounds that have a result are to be tried again, and how many."""
        return Counter(map(cause_of_repeat, self.again.values()))

    def summary(self) -> str:
        """`30 of 30 rows: 28 ok, 2 failed, in 5 min 15 s with all preparation; 46 attempts, 16 of
        them repeats (contended)`.

        The time of the report is that of the attempts alone. A round whose repeat was given up
        counts as what its last attempt was.
        """
        ended = self.outcomes + Counter(str(record.outcome) for record in self.again.values())
        outcomes = (
            ", ".join(f"{count} {name}" for name, count in ended.items()) or "nothing finished"
        )
        time = f"in {duration(self.elapsed_s)} with all preparation"
        text = f"{self.measured} of {counted(self.total, 'row')}: {outcomes}, {time}"
        repeats = self.attempts - len(self._tried)
        if repeats <= 0:
            return text
        why = ", ".join(self.repeated)
        return (
            f"{text}; {counted(self.attempts, 'attempt')}, {repeats} of them "
            f"repeats{f' ({why})' if why else ''}"
        )

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return self.clock() - self.began

    def left_s(self) -> float | None:
        """Seconds to go, over the slots that there are; None: too little was measured to say."""
        if self.bounded or not self._estimator.ready:
            return None
        rests = [self._rest(found) for found in self.slots.values() if found is not None]
        return max(
            max(rests, default=0.0),
            (sum(rests) + self._estimator.ahead()) / max(1, len(self.slots)),
        )

    def describe(self, attempt: Attempt, briefly: bool = False) -> str:
        """`improved batch=1 seq_len=1024 heads=8`, the round and the attempt where they are not the
        first.

        Briefly: `improved (1, 1024, 8)`, in the order of the table's columns.
        """
        parts = [self.describe_trial(attempt.trial, briefly)]
        parts += [f"round {attempt.round}"] if attempt.round > 1 else []
        return " ".join(parts + ([f"attempt {attempt.attempt}"] if attempt.attempt > 1 else []))

    def describe_trial(self, trial: Trial, briefly: bool = False) -> str:
        """`improved batch=1 seq_len=1024 heads=8`; briefly: `improved (1, 1024, 8)`."""
        values = {name: axis_text(name, trial.value(name)) for name in self._columns}
        point = (
            f"({', '.join(values.values())})"
            if briefly
            else " ".join("=".join(pair) for pair in values.items())
        )
        return f"{printable(trial.implementation)} {point if values else ''}".rstrip()

    def _started(self, attempt: Attempt, slot: int) -> None:
        key = (attempt.trial.trial_id, attempt.round)
        self.done.pop(key, None)  # a further attempt takes the place of the one before it
        self.again.pop(key, None)
        self._no_longer_left(key)
        self.slots[slot] = Running(attempt, self.clock())

    def _finished(self, event: Finished) -> None:
        attempt, record = event.attempt, event.record
        for slot, running in self.slots.items():
            if running is not None and running.attempt.key == attempt.key:
                self._estimator.learn(attempt.trial, self.clock() - running.since)
                self.slots[slot] = None
        key = (attempt.trial.trial_id, attempt.round)
        self._no_longer_left(key)
        self.attempts += 1
        self._tried.add(key)
        held = self.done.get(key)
        if held is not None and Flag.SCREENED.value in held.flags:
            self.repeated["screened before"] += 1  # one of the best of a search
        self.recent.appendleft(event)
        if event.again:
            self.again[key] = record
            self.repeated[cause_of_repeat(record)] += 1
            self._left[key] = attempt.trial
            self._estimator.expect(attempt.trial)
        else:
            self.done[key] = record
        if record.outcome is not Outcome.OK:
            self.failures.appendleft(event)

    def _no_longer_left(self, key: RoundKey) -> None:
        trial = self._left.pop(key, None)
        if trial is not None:
            self._estimator.expect(trial, -1)

    def _rest(self, running: Running) -> float:
        return max(
            0.0, self._estimator.predict(running.attempt.trial) - (self.clock() - running.since)
        )


def duration_s(record: TrialRecord) -> float:
    """Seconds from an attempt's start to its end; 0 where the times are not known."""
    try:
        ended, started = (
            datetime.fromisoformat(moment) for moment in (record.finished_at, record.started_at)
        )
    except ValueError:
        return 0.0
    return (ended - started).total_seconds()


def cause_of_repeat(record: TrialRecord) -> str:
    """Why a round is tried again: the flag that says what disturbed it, or how it ended."""
    disturbed = [flag for flag in record.flags if flag in DISTURBED]
    return disturbed[0] if disturbed else str(record.outcome)


def reason(record: TrialRecord) -> str:
    """Why a record is not ok, in one line."""
    return "" if record.error is None else message(record.error, record.outcome, BRIEF)
