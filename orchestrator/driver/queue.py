"""The attempts that a sweep still has to make, in order."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from orchestrator.driver.attempts import AttemptFactory
from orchestrator.driver.rerun import STALE, WORDS, RerunRule
from orchestrator.driver.retries import Retries
from orchestrator.driver.stale import KnownSources, Stale, changed_parts
from orchestrator.formatting import counted, shown
from orchestrator.outcome import Flag, Outcome
from orchestrator.plan.expand import known_names
from orchestrator.plan.sweep import Sweep
from orchestrator.record import TrialRecord
from orchestrator.search.factory import Proposal, proposer_of
from orchestrator.search.oom_prediction import OomPrediction
from orchestrator.trial import Attempt, RoundKey, Trial, content_hash

# Trials screened in one process: a third of a search's samples within these bounds, so that the
# searcher learns from the first batches before it proposes the last.
LEAST_SCREENED, MOST_SCREENED = 32, 128


class AttemptQueue:
    """The attempts left to make: round after round, each shuffled by the recorded seed.

    With one round the order is the searcher's: of a grid, the table's.

    Args:
        sweep: what was asked.
        sweep_id: of the sweep.
        device: "cpu" or "cuda".
        records: what the journal already holds.
        proposals: what the sweep's searcher asked for in earlier runs.
        known: what the source hashes stand for; None: nothing but what is read now.

    Attributes:
        proposals: what it has asked for in this run, oldest first, to be kept before the attempts
            are made.
        kept: earlier proposals that the sweep file, as it is now, still asks for.

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
        self.proposals: list[Proposal] = []
        self.kept: list[Proposal] = []
        if known is None:
            known = KnownSources(sweep)
        self._outdated = known.outdated()
        self._attempts = AttemptFactory(sweep, sweep_id, device, known.now)
        self._first_of = {second.trial_id: first for first, second in sweep.rivals.items()}
        self._oom_prediction = OomPrediction(sweep)
        self._proposer = proposer_of(sweep, self._oom_prediction.in_order())
        remeasure = sweep.spec.measure.for_device(device).remeasure
        self._retries = Retries(sweep.spec.retries, remeasure, self._proposer.times)
        self._trials: dict[str, Trial] = {}
        self._records: dict[str, list[TrialRecord]] = {}
        self._pending: deque[RoundKey] = deque()
        self._cell_of: dict[str, str] = {}
        self._finals: set[str] = set()
        self._seen = 0
        self._replay(records, proposals)

    def __len__(self) -> int:
        return len(self._pending)

    def ended_early(self) -> Sequence[str]:
        """Why there are fewer trials than a search was to make, once nothing is left."""
        return self._proposer.ended_early()

    @property
    def ahead(self) -> int:
        """How many attempts per slot may be under way or queued."""
        return self._proposer.ahead

    def asks_for(self, trial: Trial) -> bool:
        """Whether the sweep file, as it is now, asks for the trial; a search: has asked for it."""
        return trial.trial_id in self._trials or trial.trial_id in self._first_of

    def next(self) -> Attempt | None:
        """The next attempt to make; None: there is none, or none before another ends."""
        while not self._pending:
            proposed = self._proposer.next()
            if not proposed:
                return None
            self._accept(proposed)
        key = self._pending[0]
        if not self._is_screened(key[0]):
            return self._attempt(self._pending.popleft())
        self._fill(self._cell_of[key[0]])
        batch = self._batch(self._cell_of[key[0]])
        for screened in batch:
            self._pending.remove(screened)
        # what they screen next can be compiled meanwhile, and rests on all that they have found
        for cell in self._proposer.idle():
            self._fill(cell)
        return self._attempt(key, batch)

    def _fill(self, cell: str) -> None:
        """Have as many trials of a cell wait to be screened as a process takes, if it has them."""
        while len(self._batch(cell)) < self._most_screened:
            proposed = self._proposer.next(cell)
            if not proposed:
                return
            self._accept(proposed)
            if not self._is_screened(proposed[0].trial.trial_id):
                return  # it is measured by itself, as are those after it

    def give_back(self, attempt: Attempt) -> None:
        """Queue again the trials that an attempt was to screen, and did not come to."""
        for trial in attempt.screened:
            key = (trial.trial_id, attempt.round)
            if self._retries.is_unfinished(key) and key not in self._pending:
                self._pending.append(key)

    def _batch(self, cell: str) -> list[RoundKey]:
        """The attempts of a cell that are screened in one process: only those compete."""
        found = []
        for key in self._pending:
            if self._is_screened(key[0]) and self._cell_of[key[0]] == cell:
                found.append(key)
        return found[: self._most_screened]

    def _screened_next(self) -> list[Trial]:
        """The trials that wait to be screened, cell by cell."""
        by_cell: dict[str, list[Trial]] = {}
        for trial_id, _ in self._pending:
            if self._is_screened(trial_id):
                cell = self._cell_of[trial_id]
                by_cell.setdefault(cell, []).append(self._trials[trial_id])
        found = []
        for trials in by_cell.values():
            found += trials
        return found

    @property
    def _most_screened(self) -> int:
        return max(LEAST_SCREENED, min(self.sweep.spec.search.samples // 3, MOST_SCREENED))

    def _is_screened(self, trial_id: str) -> bool:
        """Whether the trial is to be screened, and not, or not yet, measured by itself."""
        if not self.sweep.spec.search.screen or trial_id in self._finals or self.sweep.rivals:
            return False
        return self.sweep.ranks(self._trials[trial_id]) == 1

    def predicted(self, attempt: Attempt) -> TrialRecord | None:
        """The record of an attempt whose end is known without making it (`predict`); else None."""
        return self._oom_prediction.predict(attempt)

    def finished(self, record: TrialRecord) -> bool:
        """Record how an attempt ended; True if it is to be made again."""
        self._learn(record)
        if record.trial_id in self._first_of or not self._retries.is_due(record):
            return False
        self._pending.append((record.trial_id, record.round))
        return True

    def stale(self, environments: Sequence[Mapping[str, object]]) -> list[Stale]:
        """Finished attempts that would not be the same today, on any slot with these environments.

        Attempts that are to be made again anyway are left out.
        """
        pending = set(self._pending)
        hashes = {content_hash(dict(environment)): None for environment in environments}
        found = []
        for key, record in self._retries.first.last.items():
            if key[0] not in self._trials or key in pending or record.outcome is Outcome.LOST:
                continue
            changed = self._changed(key, record, list(hashes))
            if changed:
                trial = self._trials[key[0]]
                values = [f"{axis}={shown(trial.value(axis))}" for axis in self.sweep.spec.axes]
                found.append(Stale(record, changed, " ".join(values)))
        return found

    def rerun(self, text: str, environments: Sequence[Mapping[str, object]]) -> str:
        """Queue finished attempts again.

        With failed attempts, all that have become stale because a source changed are made again,
        too: whoever repeats what failed has mended it, and other implementations may stand in the
        same file. Left as they are they would stand in no table.

        Args:
            text: the rule; see RerunRule.
            environments: of the slots, to find out what is stale.

        Returns:
            What a person should know of the choice; empty: nothing.

        Raises:
            RequestError: it is no rule.
        """
        names = dict.fromkeys(known_names(self._trials.values()))
        rule = RerunRule.of(text, names, [entry.label for entry in self.sweep.spec.implementations])
        stale = self.stale(environments)
        chosen = set()
        if rule.text == STALE:
            chosen = {(found.record.trial_id, found.record.round) for found in stale}
        for key, record in self._retries.first.last.items():
            if key[0] in self._trials and self._is_chosen(rule, key, record, names):
                chosen.add(key)
        said = ""
        if not chosen and rule.text not in WORDS:
            said = f"--rerun {text}: no finished row is so; nothing is run again"
        if rule.repeats_failures and chosen:
            further, files = set(), set()
            for found in stale:
                record = found.record
                key = (record.trial_id, record.round)
                if found.changed == ("source",) and key not in chosen:
                    further.add(key)
                    files.add(self._trials[record.trial_id].implementation)
            if further:
                rows, of = counted(len(further), "finished row"), ", ".join(sorted(files))
                said = f"{rows} of {of} run again, too: the source changed"
            chosen |= further
        self._retries.start_over(chosen)
        self._invalidate(chosen)
        wanted = chosen | set(self._pending)
        self._pending = deque(key for key in self._rounds(self._trials) if key in wanted)
        return said

    def _replay(self, records: Sequence[TrialRecord], proposals: Iterable[Proposal]) -> None:
        """Repeat an earlier run: its proposals and records, in the order in which they came.

        A searcher's state is not saved: the same calls in the same order lead to it again.
        """
        if self._proposer.at_once:
            self._accept(self._proposer.next())
        for proposal in proposals:
            self._learn_all(records[self._seen : proposal.after])
            if self._proposer.replay(proposal):
                self.kept.append(proposal)
                self._note_place(proposal)
                self._trials[proposal.trial.trial_id] = proposal.trial
                self._tell(proposal.trial.trial_id)
        self._learn_all(records[self._seen :])
        in_full = []
        for key, record in self._retries.first.last.items():
            if key[0] in self._trials and self._must_be_timed_in_full(record):
                in_full.append(key)
        self._retries.repeat(in_full)
        self._invalidate(in_full)
        self._pending = deque(filter(self._retries.is_unfinished, self._rounds(self._trials)))

    def _learn_all(self, records: Sequence[TrialRecord]) -> None:
        for record in records:
            self._learn(record)

    def _accept(self, proposed: Sequence[Proposal]) -> None:
        """Queue what was proposed and has not been run."""
        trials: dict[str, Trial] = {}
        for found in proposed:
            trial = found.trial
            if trial.trial_id not in self._trials and trial.trial_id not in self._first_of:
                trials[trial.trial_id] = trial
        self._trials |= trials
        if not self._proposer.at_once:
            for found in proposed:
                self.proposals.append(found.model_copy(update={"after": self._seen}))
                self._note_place(found)
                if found.final:
                    trials[found.trial.trial_id] = found.trial
        self._pending.extend(filter(self._retries.is_unfinished, self._rounds(trials)))
        for found in proposed:  # the trial may be one of an earlier sweep, or of another group
            self._tell(found.trial.trial_id)

    def _learn(self, record: TrialRecord) -> None:
        """Record how a round ended, and tell the searcher of a trial whose every round has."""
        self._seen += 1
        if record.trial_id in self._first_of:
            self._retries.add_second((self._first_of[record.trial_id], record.round), record)
            return
        disturbed_for_good = self._retries.add(record)
        self._oom_prediction.learn(record)
        self._records.setdefault(record.trial_id, []).append(record)
        self._tell(record.trial_id)
        if disturbed_for_good:
            self._stop_remeasuring()

    def _stop_remeasuring(self) -> None:
        """Interference is permanent: drop the repeats that were waiting for a quieter machine."""
        dropped = set(self._retries.stop_remeasuring())
        self._pending = deque(key for key in self._pending if key not in dropped)
        for trial_id, _ in dropped:
            self._tell(trial_id)

    def _tell(self, trial_id: str) -> None:
        """Tell the searcher of a trial, once every round of it has ended."""
        if trial_id not in self._trials:
            return
        repeats = self.sweep.spec.measure.repeats
        if self._is_screened(trial_id):
            repeats = 1
        for number in range(1, repeats + 1):
            if self._retries.is_unfinished((trial_id, number)):
                return
        self._proposer.tell(self._trials[trial_id], self._records[trial_id])

    def _invalidate(self, keys: Collection[RoundKey]) -> None:
        """Until these attempts are re-run, their old results must not cut or rule out others."""
        trials = {trial_id: self._trials[trial_id] for trial_id, _ in keys}  # each once
        self._proposer.invalidate(list(trials.values()))
        self._oom_prediction.invalidate(keys)

    def _is_chosen(
        self, rule: RerunRule, key: RoundKey, record: TrialRecord, names: Mapping[str, None]
    ) -> bool:
        """Whether the rule chooses a round; of a pair, either trial that failed is a reason."""
        values = {**names, **self._trials[key[0]].names()}
        if rule.chooses(record.outcome, values):
            return True
        second = self._retries.second.last.get(key)
        if second is None or not rule.repeats_failures:
            return False
        return rule.chooses(second.outcome, values)

    def _rounds(self, trial_ids: Iterable[str]) -> Iterator[RoundKey]:
        """Every round of these trials, round after round."""
        repeats, known = self.sweep.spec.measure.repeats, list(trial_ids)
        for number in range(1, repeats + 1):
            trials = list(known)
            # Prediction needs the order given, smallest first; only later rounds are shuffled.
            is_predicting = number == 1 and self.sweep.spec.predict
            # Shuffled, so that a drift of the machine does not fall on the same trials each round.
            if repeats > 1 and not is_predicting:
                random.Random(f"{self.sweep.spec.seed} {number}").shuffle(trials)
            for trial_id in trials:
                if number == 1 or not self._is_screened(trial_id):
                    yield trial_id, number

    def _note_place(self, proposal: Proposal) -> None:
        """Record a proposal's cell, and whether its trial is to be measured by itself now."""
        trial_id = proposal.trial.trial_id
        self._cell_of.setdefault(trial_id, proposal.cell)
        if proposal.final and trial_id not in self._finals:
            self._finals.add(trial_id)
            # what was screened was no attempt to measure it
            self._retries.start_over([(trial_id, 1)])
            self._retries.repeat([(trial_id, 1)])

    def _must_be_timed_in_full(self, record: TrialRecord) -> bool:
        """True if the trial for whose sake this one was cut short is not in the sweep any more."""
        if Flag.CUT.value not in record.flags:
            return False
        limit = self._proposer.cut_above_ms(self._trials[record.trial_id])
        low = (record.metrics or {}).get("latency_ci_low_ms")
        return limit is None or low is None or low <= limit

    def _changed(
        self, key: RoundKey, record: TrialRecord, environments: Sequence[str]
    ) -> tuple[str, ...]:
        """Which parts of a record's fingerprint the same attempt would not have today.

        Of several environments (of unlike slots), given by their hashes, the one with the fewest
        changes counts.
        """
        trial, screened = self._trials[key[0]], self._is_screened(key[0])
        candidates = []
        for environment in environments:
            now = self._attempts.fingerprint(trial, key[1], environment, screened=screened)
            candidates.append(changed_parts(record.fingerprint, now))
        changed = min(candidates, key=len, default=())
        if record.fingerprint.source in self._outdated and "source" not in changed:
            return ("source", *changed)
        return changed

    def _attempt(self, key: RoundKey, batch: Sequence[RoundKey] = ()) -> Attempt:
        trial = self._trials[key[0]]
        held = self._retries.first.last.get(key)
        return self._attempts.attempt(
            trial,
            key,
            self._retries.next_attempt(key),
            pausing=held is not None and self._retries.is_disturbed(held),
            cut_above_ms=self._proposer.cut_above_ms(trial),
            screened=[self._trials[trial_id] for trial_id, _ in batch],
            screened_next=self._screened_next() if batch else (),
            incumbent=self._proposer.incumbent(trial) if batch else None,
            left=len(self._pending) if self._proposer.at_once else None,
        )
