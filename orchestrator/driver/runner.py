"""Runs a sweep: hands attempts to the executor, journals their records, then reports them."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from orchestrator.attempt_result import AttemptResult
from orchestrator.driver.attempts import traced
from orchestrator.driver.queue import AttemptQueue
from orchestrator.driver.reuse import Reuse
from orchestrator.driver.signals import Signals
from orchestrator.driver.stale import KnownSources, explain, refuse_stale
from orchestrator.errors import (
    AbortedError,
    CircuitBrokenError,
    InterruptedSweepError,
    UnfitMachineError,
)
from orchestrator.executors.base import (
    Event,
    Executor,
    Finished,
    Noted,
    Observed,
    SlotLost,
    SlotReady,
)
from orchestrator.formatting import counted
from orchestrator.machine.observation import Observation
from orchestrator.outcome import DEVICE_FAULT, Outcome
from orchestrator.plan.sweep import Sweep
from orchestrator.progress.live import Progress
from orchestrator.record import TrialRecord
from orchestrator.report import write_reports
from orchestrator.results import proposals, sources, sweep_directory
from orchestrator.results.journal import Journal
from orchestrator.results.meta import SweepMeta
from orchestrator.results.proposals import Proposal
from orchestrator.results.results import Results
from orchestrator.results.rows import row_of, target_ci
from orchestrator.trackers.base import Status, Tracker
from orchestrator.trial import Attempt

POLL_S = 0.2
ALL_SLOTS_S = 30.0  # on a busy cluster a slot may never start
INFRASTRUCTURE = frozenset({Outcome.CRASHED, Outcome.LOST})
FULL_PASSES = 1000  # of the collector's passes over younger objects before one over all; usually 10


@contextmanager
def seldom_collected() -> Iterator[None]:
    """Have the garbage collector look at all objects a hundred times less often.

    A driver keeps every record, none is in a cycle, and each full pass looks at all of them: at
    10,000 records these passes were a quarter of its time. Of sweeps in several threads the first
    sets it, and its end is the end of it.
    """
    young, middle, old = gc.get_threshold()
    if old >= FULL_PASSES:
        yield
        return
    gc.set_threshold(young, middle, FULL_PASSES)
    try:
        yield
    finally:
        gc.set_threshold(young, middle, old)


@dataclass
class SweepRun:
    """One execution of a sweep in a directory: new, or going on from what the journal holds.

    Args:
        rerun: `failed`, `stale`, `all` or an expression: finished attempts to make again.
        reuse: what is known from other sweeps; None: looked up if the sweep file says `reuse`, on
            the slots that there are.
    """

    sweep: Sweep
    meta: SweepMeta
    directory: Path
    executor: Executor
    tracker: Tracker
    progress: Progress
    signals: Signals = field(default_factory=Signals)
    rerun: str | None = None
    reuse: Reuse | None = None
    _environments: dict[str, Any] = field(default_factory=dict)
    _observations: list[Observation] = field(default_factory=list)
    _slots: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    _by_trial: dict[str, list[TrialRecord]] = field(default_factory=dict)
    _proposals: list[Proposal] = field(default_factory=list)
    _in_flight: int = 0
    _faults_in_a_row: set[tuple[str, int]] = field(default_factory=set)
    _broken: str | None = None

    def __post_init__(self) -> None:
        # The sweep's code is read once: a wholly known sweep is done in about a second.
        self._sources = KnownSources(self.sweep) if self.reuse is None else self.reuse.sources

    def run(self) -> Results:
        """Make every attempt that is left, and write the reports.

        Raises:
            RequestError: finished rows are stale, and `rerun` does not say to run them again.
            SweepBusyError: another driver is working in the directory.
            AbortedError: the circuit breaker opened, no slot is left, or the journal cannot be
                written.
            InterruptedSweepError: a signal stopped the sweep; everything finished is kept.
        """
        with self.signals, Journal(self.directory) as journal:
            self.signals.install()
            held = sweep_directory.load(self.directory, journal.records)
            self._environments = dict(held.environments)
            self._observations = list(held.observations)
            self._sources.held = sources.read(self.directory)
            for record in journal.records:
                self._by_trial.setdefault(record.trial_id, []).append(record)
            made = proposals.read(self.directory)
            queue = AttemptQueue(
                self.sweep,
                self.meta.sweep_id,
                self.executor.device,
                tuple(journal.records),
                made,
                self._sources,
            )
            self._proposals = list(queue.kept)
            planned = tuple(filter(queue.asks_for, self.meta.planned))
            self.progress.start(
                self.meta.model_copy(update={"planned": planned}), tuple(journal.records)
            )
            try:
                if journal.records:
                    self._check_stale(queue, journal, held)
                self._save_plan(held.meta)
            except BaseException:
                self.progress.stop()
                self.executor.close()
                raise
            return self._to_end(queue, journal)

    def _to_end(self, queue: AttemptQueue, journal: Journal) -> Results:
        """Run the attempts, write the reports, and close what is open, however it ends.

        What is refused before this leaves the directory and MLflow as they were.
        """
        self.tracker.start(self.meta)
        status: Status = "FAILED"
        try:
            self._loop(queue, journal)
            for event in self.executor.conclude():
                self._handle(event, queue, journal)
            self._stop_if_signalled()
            status = "FINISHED"
        except InterruptedSweepError:
            status = "KILLED"
            raise
        finally:
            self.progress.stop()
            results = self._results(journal)
            try:
                # a full disk must not hide why the sweep ended; `report` writes them again
                with suppress(OSError):
                    write_reports(results)
            finally:
                # the tracker works in its own thread while the executor takes seconds to close
                self.tracker.finish(status, results)
                self.executor.close()
                if self.reuse is not None:
                    self.reuse.close()
        return results

    def _save_plan(self, held: SweepMeta) -> None:
        """Write what a changed sweep file asks for, once it is certain that the sweep goes on."""
        if self.meta != held:
            sweep_directory.save_plan(self.directory, self.meta, self.sweep.document.text)
        if self.sweep.spec.proposes:
            proposals.keep(self.directory, self._proposals)
        self._save_sources()

    def _save_sources(self) -> None:
        with suppress(OSError):  # the journal says when the disk is full
            sources.write(self.directory, self._sources.all())

    def _loop(self, queue: AttemptQueue, journal: Journal) -> None:
        self._look_up(queue, journal)
        while True:
            self._submit(queue, journal)
            if not self._in_flight:
                for reason in queue.ended_early():
                    self.progress.note(reason)
                return
            self._poll(queue, journal)

    def _submit(self, queue: AttemptQueue, journal: Journal) -> None:
        """Hand over as many attempts as may wait; a proposal is written down before it is run."""
        # As if there were a slot, if there is none: then the executor's poll says why.
        while self._in_flight < queue.ahead * max(1, self.executor.slots):
            attempt = queue.next()
            self._keep_proposals(queue)
            if attempt is None:
                return
            self._in_flight += 1
            record = queue.predicted(attempt) or self._reused(attempt)
            if record is None:
                self.executor.submit(traced(attempt, self.directory))
            else:
                result = AttemptResult.of_end(attempt, record)
                self._handle(Finished.of(attempt, result), queue, journal)

    def _look_up(self, queue: AttemptQueue, journal: Journal) -> None:
        """Find out which rows are known from other sweeps, where that is asked for."""
        if not self.sweep.spec.reuse or self.rerun is not None:
            self.reuse = None
            return
        if self.reuse is None:
            environments = self._environments_of_slots(queue, journal)
            self.reuse = Reuse(
                self.sweep, self.executor.device, environments, self._sources, self.directory
            )
        if self.sweep.spec.proposes:
            return
        known = sum(self.reuse.hit(trial) is not None for trial in self.sweep.trials)
        rows = counted(len(self.sweep.trials), "row")
        self.progress.note(f"reuse: {known} of {rows} known from earlier sweeps")

    def _reused(self, attempt: Attempt) -> TrialRecord | None:
        """The record of another sweep that stands for an attempt; none where this one began it."""
        if self.reuse is None:
            return None
        begun = self._by_trial.get(attempt.trial.trial_id, [])
        if any(not record.reused_from for record in begun):
            return None
        return self.reuse.record(attempt)

    def _keep_proposals(self, queue: AttemptQueue) -> None:
        new, queue.proposals = queue.proposals, []
        if not new:
            return
        try:
            proposals.append(self.directory, new)
        except OSError as error:
            raise self._unwritten(error) from error
        self._proposals += new

    def _poll(self, queue: AttemptQueue, journal: Journal) -> None:
        self._stop_if_signalled()
        try:
            events = self.executor.poll(POLL_S)
        except UnfitMachineError as error:
            raise UnfitMachineError(self._how_to_go_on(str(error))) from error
        for event in events:
            self._handle(event, queue, journal)
        if self._broken is not None:
            raise CircuitBrokenError(self._how_to_go_on(self._broken))

    def _stop_if_signalled(self) -> None:
        if self.signals.received is not None:
            raise InterruptedSweepError(self.signals.received, self.name)

    def _handle(self, event: Event, queue: AttemptQueue, journal: Journal) -> None:
        if isinstance(event, SlotReady):
            self._slots[event.slot] = event.environment
        if isinstance(event, SlotLost):
            self.progress.note(f"no further trial runs on {event.reason}")
        if isinstance(event, Noted):
            self.progress.note(event.text)
            return
        if isinstance(event, Observed):
            self._note_machine(event.observation)
        if isinstance(event, Finished):
            self._in_flight -= 1
            self._learn_imported(event)
            first, *others = event.of_each_trial()
            # The first trial's record is journaled last: once it is there, none is missing, and a
            # driver killed in between makes the whole attempt again.
            ends = [self._keep(end, journal) for end in (*others, first)]
            again = [queue.finished(end.record) for end in ends]
            self._count_faults(ends[-1].record)
            if not event.attempt.screened:  # one attempt makes both trials of a pair, so both again
                again = [again[-1]] * len(again)
            for end, is_again in zip(ends, again, strict=True):
                self.progress.event(replace(end, again=is_again))
            queue.give_back(event.attempt)
            return
        self.progress.event(event)

    def _keep(self, event: Finished, journal: Journal) -> Finished:
        """Write the log, then the journal (from then on the round is finished), then the tracker.

        Returns:
            The same without its environment, which is kept once and not with every record.
        """
        record = event.record
        mine = self._by_trial.setdefault(record.trial_id, [])
        try:
            sweep_directory.save_log(self.directory, record.trial_id, event.log, first=not mine)
            self._keep_environment(record)
            journal.append(record)
        except OSError as error:
            raise self._unwritten(error) from error
        mine.append(journal.records[-1])
        self.tracker.log(row_of(event.attempt.trial, mine, target_ci(self.meta)))
        return replace(event, record=journal.records[-1])

    def _unwritten(self, error: OSError) -> AbortedError:
        return AbortedError(
            self._how_to_go_on(f"results cannot be written ({error.strerror}): make room")
        )

    def _learn_imported(self, event: Finished) -> None:
        source = event.record.fingerprint.source
        if event.imported is not None and self._sources.learn(source, event.imported):
            self._save_sources()

    def _keep_environment(self, record: TrialRecord) -> None:
        key = record.fingerprint.environment
        protocol = self.sweep.spec.measure.for_device(self.executor.device).model_dump()
        if record.environment and self._environments.get(key, {}).get("protocol") != protocol:
            self._environments[key] = {**record.environment, "protocol": protocol}
            sweep_directory.save_environments(self.directory, self._environments)

    def _note_machine(self, observation: Observation) -> None:
        self._observations.append(observation)
        with suppress(OSError):  # the journal says when the disk is full
            sweep_directory.add_observations(self.directory, [observation])

    def _count_faults(self, record: TrialRecord) -> None:
        """Count rounds that ended in a fault in a row, and stop the sweep at `max_failures`.

        A round counts once, however often it is tried.
        """
        if record.outcome not in INFRASTRUCTURE and DEVICE_FAULT not in record.notes:
            self._faults_in_a_row.clear()
            return
        self._faults_in_a_row.add((record.trial_id, record.round))
        limit = self.sweep.spec.max_failures
        if limit is not None and len(self._faults_in_a_row) >= limit:
            last = record.error.message if record.error else str(record.outcome)
            what = f"{limit} trials in a row crashed, were lost or broke the device"
            self._broken = f"{what} (max_failures); the last: {last}"

    def _check_stale(self, queue: AttemptQueue, journal: Journal, held: Results) -> None:
        """Refuse to go on with finished rows that no longer hold, unless they are run again.

        They are compared with the environments of all slots, not of the one that is ready first.
        """
        matches: list[Mapping[str, Any]] = []
        for environment in self._environments_of_slots(queue, journal):
            match = environment.get("match", {})
            if match not in matches:
                matches.append(match)
        said = "" if self.rerun is None else queue.rerun(self.rerun, matches)
        if said:
            self.progress.note(said)
        if self.rerun not in ("stale", "all"):
            stale = queue.stale(matches)
            why = explain(stale, held, self._sources, matches)
            refuse_stale(stale, f"orchestrator resume {self.name}", why)
        self._sources.forget_outdated()

    def _environments_of_slots(
        self, queue: AttemptQueue, journal: Journal
    ) -> list[Mapping[str, Any]]:
        """What each slot says of itself, once all have, or enough time has passed."""
        deadline = time.monotonic() + ALL_SLOTS_S
        while not self._slots or (
            len(self._slots) < self.executor.slots and time.monotonic() < deadline
        ):
            self._poll(queue, journal)
        return list(self._slots.values())

    def _results(self, journal: Journal) -> Results:
        seen = tuple(self._observations)
        meta = self.meta
        if self.sweep.spec.proposes:
            meta = proposals.asked(meta, self._proposals)
        return Results(
            meta,
            tuple(journal.records),
            self._environments,
            self.directory,
            seen,
            self.tracker.tracked,
        )

    def _how_to_go_on(self, what: str) -> str:
        return f"{what}; go on with: orchestrator resume {self.name}"

    @property
    def name(self) -> str:
        """What `resume` finds this sweep by."""
        return sweep_directory.found_by(self.meta.name, self.directory)
