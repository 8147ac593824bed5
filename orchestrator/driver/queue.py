"""What a sweep still has to do: attempts to make, retries, what a resumed journal already holds."""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress

from orchestrator.driver.stale import KnownSources, Stale, changed_parts, source_of_pair
from orchestrator.outcome import Flag, Outcome
from orchestrator.plan.expand import known_names
from orchestrator.plan.sweep import Sweep
from orchestrator.record import TrialRecord, fingerprint
from orchestrator.search.factory import Proposal, proposer_of
from orchestrator.search.oom_prediction import OomPrediction
from orchestrator.spec.expression import check, condition
from orchestrator.trial import Attempt, Resources, Trial, content_hash

DISTURBED = frozenset({Flag.THROTTLED.value, Flag.CONTENDED.value})
PAUSE_S = 2.0  # before an attempt that was disturbed is made again
MOST_FRUITLESS = 3  # repeats in a row that were disturbed again: whatever disturbs is here to stay
RERUNS = ("failed", "stale", "all")
Key = tuple[str, int]  # trial_id, round


class AttemptQueue:
    """The attempts left to make, in order: round after round, each shuffled by the recorded seed.

    With one round the order is the proposer's: of a grid, the table's.

    Args:
        sweep: what was asked.
        sweep_id: of the sweep.
        device: "cpu" or "cuda".
        records: what the journal already holds.
        proposals: what the sweep's proposer asked for in earlier runs.
        known: what the source hashes stand for; None: nothing but what is read now.

    Attributes:
        proposals: what it has asked for in this run, oldest first, to be kept before the attempts are made.

    Raises:
        RequestError: the sweep's searcher cannot be used.
    """

    def __init__(
        self,
        sweep: Sweep,
        sweep_id: str,
        device: str,
        records: Sequence[TrialRecord] = (),
        proposals: Iterable[Proposal] = (),
        known: KnownSources | None = None,
    ) -> None:
        self.sweep = sweep
        self._sweep_id = sweep_id
        self._device = device
        known = KnownSources(sweep) if known is None else known
        self._sources, self._outdated = known.now, known.outdated()
        self._protocol = sweep.spec.measure.for_device(device)
        self._seconds = {rival.trial_id: first for first, rival in sweep.rivals.items()}
        self._foresight = OomPrediction(sweep)
        self._proposer = proposer_of(sweep, self._foresight.in_order())
        self._trials: dict[str, Trial] = {}
        self._records: dict[str, list[TrialRecord]] = {}
        self._tries: Counter[Key] = Counter()
        self._last: dict[Key, TrialRecord] = {}
        self._rival: dict[Key, TrialRecord] = {}  # of a duel's second side, by the key of the first
        self._ended: Counter[tuple[Key, Outcome]] = Counter()
        self._ended_beside: Counter[tuple[Key, Outcome]] = Counter()
        self._fruitless = 0
        self._again: dict[Key, bool] = {}
        self._seen = 0
        self._pending: deque[Key] = deque()
        self.proposals: list[Proposal] = []
        self.kept: list[Proposal] = []
        self._replay(records, proposals)

    def _replay(self, records: Sequence[TrialRecord], proposals: Iterable[Proposal]) -> None:
        """Live through an earlier run again: what was proposed, and what ended, in the order in which it was."""
        if self._proposer.at_once:
            self._accept(self._proposer.next())
        for proposal in proposals:
            self._learn_all(records[self._seen : proposal.after])
            if self._proposer.remind(proposal):
                self.kept.append(proposal)
                self._trials[proposal.trial.trial_id] = proposal.trial
                self._tell(proposal.trial.trial_id)
        self._learn_all(records[self._seen :])
        vain = [key for key, record in self._last.items() if key[0] in self._trials and self._is_cut_in_vain(record)]
        self._again |= dict.fromkeys(vain, True)
        self._doubt(vain)
        self._pending = deque(filter(self._is_unfinished, self._keys(self._trials)))

    def _learn_all(self, records: Sequence[TrialRecord]) -> None:
        for record in records:
            self._learn(record)

    def __len__(self) -> int:
        return len(self._pending)

    def asks_for(self, trial: Trial) -> bool:
        """Whether the sweep, as it is stated now, asks for the trial; a search or a frontier: has asked."""
        return trial.trial_id in self._trials or trial.trial_id in self._seconds

    @property
    def ahead(self) -> int:
        """How many attempts per slot may be under way or queued."""
        return self._proposer.ahead

    def next(self) -> Attempt | None:
        """The next attempt to make; None: none, or none before another ends."""
        while not self._pending:
            if not (proposed := self._proposer.next()):
                return None
            self._accept(proposed)
        return self._attempt(self._pending.popleft())

    def predicted(self, attempt: Attempt) -> TrialRecord | None:
        """The record of an attempt whose end is known without making it (`predict`); None: it must be made."""
        return self._foresight.predict(attempt)

    def finished(self, record: TrialRecord) -> bool:
        """Note how an attempt ended; True when it is to be made again, as `retries` and `measure.remeasure` say."""
        self._learn(record)
        if record.trial_id in self._seconds or not self._may_retry(record):
            return False
        self._pending.append((record.trial_id, record.round))
        return True

    def _accept(self, proposed: Sequence[Proposal]) -> None:
        """Queue what was proposed and has not been run."""
        new = [found for found in proposed if found.trial.trial_id not in self._trials]
        trials = {found.trial.trial_id: found.trial for found in new if found.trial.trial_id not in self._seconds}
        self._trials |= trials
        if not self._proposer.at_once:
            self.proposals += (found.model_copy(update={"after": self._seen}) for found in proposed)
        self._pending.extend(filter(self._is_unfinished, self._keys(trials)))
        for found in proposed:
            self._tell(found.trial.trial_id)  # a trial of an earlier sweep, or of another cell, may be what is proposed

    def _learn(self, record: TrialRecord) -> None:
        """Take note of a record, and have the proposer know of a trial whose every round has ended."""
        self._seen += 1
        if record.trial_id in self._seconds:  # goes with the first side's, which says what is left to do
            key = (self._seconds[record.trial_id], record.round)
            self._tried(key, record)
            self._rival[key] = record
            self._ended_beside[key, record.outcome] += 1
            return
        fruitless = self._fruitless
        self._note(record)
        self._foresight.learn(record)
        self._records.setdefault(record.trial_id, []).append(record)
        self._tell(record.trial_id)
        if fruitless < MOST_FRUITLESS <= self._fruitless:
            self._repeat_no_more()

    def _repeat_no_more(self) -> None:
        """Whatever disturbs is here to stay: what was to be measured again for its sake has ended as it is."""
        waiting = [key for key, again in self._again.items() if again]
        self._again |= dict.fromkeys(waiting, False)
        dropped = set(waiting)
        self._pending = deque(key for key in self._pending if key not in dropped)
        for trial_id, _ in waiting:
            self._tell(trial_id)

    def _tell(self, trial_id: str) -> None:
        rounds = range(1, self.sweep.spec.measure.repeats + 1)
        if trial_id in self._trials and not any(self._is_unfinished((trial_id, number)) for number in rounds):
            self._proposer.tell(self._trials[trial_id], self._records[trial_id])

    def stale(self, environments: Sequence[Mapping[str, object]]) -> list[Stale]:
        """Finished attempts that would not be the same today, on any slot with these environments.

        Attempts that are to be made again anyway are left out.
        """
        pending = set(self._pending)
        return [
            Stale(record, changed)
            for key, record in self._last.items()
            if key[0] in self._trials and key not in pending and record.outcome is not Outcome.LOST
            if (changed := self._changed(key, record, environments))
        ]

    def rerun(self, rule: str, environments: Sequence[Mapping[str, object]]) -> None:
        """Queue finished attempts again: `failed`, `stale`, `all`, or those for which an expression holds.

        The expression reads params, options, `implementation` and `outcome`.

        Raises:
            RequestError: the rule is none of these.
        """
        names = dict.fromkeys(known_names(self._trials.values()))
        if rule not in RERUNS:
            check(rule, {*names, "outcome"})
        stale = {(found.record.trial_id, found.record.round) for found in self.stale(environments)}
        chosen = {key for key, record in self._last.items() if self._is_chosen(rule, key, record, stale, names)}
        for ended in (self._ended, self._ended_beside):
            for key, outcome in list(ended):
                if key in chosen:
                    del ended[key, outcome]  # who asks again is given every retry again
        self._again |= dict.fromkeys(chosen, False)  # and is not refused for what disturbed an earlier attempt
        self._doubt(chosen)
        wanted = chosen | set(self._pending)
        self._pending = deque(key for key in self._keys(self._trials) if key in wanted)

    def _doubt(self, keys: Collection[Key]) -> None:
        """What is to be run again neither cuts nor rules out anything before it has."""
        self._proposer.doubt([self._trials[trial_id] for trial_id in dict.fromkeys(trial_id for trial_id, _ in keys)])
        self._foresight.doubt(keys)

    def _is_chosen(
        self, rule: str, key: Key, record: TrialRecord, stale: Container[Key], names: Mapping[str, None]
    ) -> bool:
        if key[0] not in self._trials:
            return False
        if rule == "stale":
            return key in stale
        if rule == "failed":
            beside = self._rival.get(key)
            return record.outcome is not Outcome.OK or (beside is not None and beside.outcome is not Outcome.OK)
        values = {**names, **self._trials[key[0]].names(), "outcome": str(record.outcome)}
        return rule == "all" or condition(rule, values)

    def _note(self, record: TrialRecord) -> None:
        key = (record.trial_id, record.round)
        self._tried(key, record)
        held = self._last.get(key)
        if held is None or record.attempt > held.attempt:
            self._last[key] = record
            self._ended[key, record.outcome] += 1
            self._again[key] = self._is_worth_repeating(record)

    def _tried(self, key: Key, record: TrialRecord) -> None:
        self._tries[key] = max(self._tries[key], record.attempt)

    def _keys(self, trial_ids: Iterable[str]) -> Iterator[Key]:
        """Every round of these trials, round after round."""
        repeats, known = self.sweep.spec.measure.repeats, list(trial_ids)
        for number in range(1, repeats + 1):
            trials = list(known)
            if repeats > 1 and not (number == 1 and self.sweep.spec.predict):  # the smallest first, to spare the larger
                random.Random(f"{self.sweep.spec.seed} {number}").shuffle(trials)
            yield from ((trial_id, number) for trial_id in trials)

    def _is_unfinished(self, key: Key) -> bool:
        """Whether a round has no record yet, or one that the driver did not live to retry."""
        held = self._last.get(key)
        return held is None or self._may_retry(held)

    def _is_worth_repeating(self, record: TrialRecord) -> bool:
        """Whether an attempt that was disturbed is to be made again: not where the last few repeats all were, too.

        A function of the journal up to here alone, so that a sweep that goes on decides as it did.
        """
        if not self._is_doubtful(record):
            if record.outcome is Outcome.OK:
                self._fruitless = 0
            return False
        if self._ended[(record.trial_id, record.round), Outcome.OK] > 1:
            self._fruitless += 1
        repeats = self._ended[(record.trial_id, record.round), Outcome.OK]
        return repeats <= self._protocol.remeasure and self._fruitless < MOST_FRUITLESS

    def _is_cut_in_vain(self, record: TrialRecord) -> bool:
        """Whether nothing that is still asked for is so much better that this attempt had to be cut short."""
        if Flag.CUT.value not in record.flags:
            return False
        limit = self._proposer.cut_above_ms(self._trials[record.trial_id])
        low = (record.metrics or {}).get("latency_ci_low_ms")
        return limit is None or low is None or low <= limit

    def _is_doubtful(self, record: TrialRecord) -> bool:
        return self._proposer.times and record.outcome is Outcome.OK and not DISTURBED.isdisjoint(record.flags)

    def _may_retry(self, record: TrialRecord) -> bool:
        key = (record.trial_id, record.round)
        beside = self._rival.get(key)
        failed = beside is not None and beside.outcome is not Outcome.OK
        if beside is not None and failed and self._is_allowed(beside, self._ended_beside[key, beside.outcome]):
            return True
        if record.outcome is Outcome.OK:
            return self._again[key]
        return self._is_allowed(record, self._ended[key, record.outcome])

    def _is_allowed(self, record: TrialRecord, ended: int) -> bool:
        """Whether an attempt that ended so, so many times by now, may be made once more."""
        allowed = getattr(self.sweep.spec.retries, str(record.outcome), 0)
        return Flag.PREDICTED.value not in record.flags and ended <= allowed

    def _attempt(self, key: Key) -> Attempt:
        trial, held = self._trials[key[0]], self._last.get(key)
        spec = self.sweep.spec
        again = held is not None and self._is_doubtful(held)
        return Attempt(
            sweep_id=self._sweep_id,
            trial=trial,
            workload=spec.workload,
            base_dir=self.sweep.base_dir,
            device=self._device,
            seed=input_seed(spec.seed, trial, key[1]),
            protocol=self._protocol,
            verify=spec.verify,
            resources=self._resources(trial),
            round=key[1],
            attempt=self._tries[key] + 1,
            source=self._source(trial),
            precision=self._precision(trial) if spec.measure.ceilings else "",
            sentinels=spec.measure.sentinels,
            pause_s=PAUSE_S if again else 0.0,
            energy=spec.measure.energy,
            rival=self.sweep.rivals.get(trial.trial_id),
            cut_above_ms=self._proposer.cut_above_ms(trial),
        )

    def _resources(self, trial: Trial) -> Resources:
        """A duel's attempt has two trials' time."""
        found = self.sweep.resources(trial, self._device)
        return found.model_copy(update={"timeout_s": 2 * found.timeout_s}) if self.sweep.rivals else found

    def _source(self, trial: Trial) -> str:
        rival = self.sweep.rivals.get(trial.trial_id)
        own = self._sources[trial.implementation]
        return own if rival is None else source_of_pair(own, self._sources[rival.implementation])

    def _precision(self, trial: Trial) -> str:
        with suppress(Exception):  # a user's function; where it fails, so does the trial that asks it, and says why
            return str(self.sweep.workload.precision(self.sweep.params(trial)))
        return ""

    def _changed(self, key: Key, record: TrialRecord, environments: Sequence[Mapping[str, object]]) -> tuple[str, ...]:
        attempt = self._attempt(key)
        prints = [fingerprint(attempt, environment) for environment in environments]
        differences = [changed_parts(record.fingerprint, print_) for print_ in prints]
        changed = min(differences, key=len, default=())
        if record.fingerprint.source in self._outdated and "source" not in changed:
            return ("source", *changed)
        return changed


def input_seed(seed: int, trial: Trial, number: int) -> int:
    """The seed of the inputs of a trial's round: the same for every implementation, another at each point and round."""
    return int(content_hash([seed, trial.params, number]), 16) % 2**63
