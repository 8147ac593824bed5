"""A sweep driven without processes: attempts end as a function of their trial says, over some
slots, in any order.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from orchestrator.driver.queue import AttemptQueue
from orchestrator.outcome import Flag, Outcome, Phase
from orchestrator.plan.sweep import Sweep
from orchestrator.record import ErrorInfo, TrialRecord, record_of
from orchestrator.results.meta import SweepMeta
from orchestrator.results.proposals import Proposal, asked
from orchestrator.results.results import Results
from orchestrator.trial import Attempt, Trial

HERE = {"device": "cpu"}
End = tuple[Outcome, float]  # latency in ms where it is ok
Ends = Callable[[Trial], End]


@dataclass
class Driven:
    """What a driver keeps: the journal, and what was proposed; `made` are the attempts that were
    really made.
    """

    sweep: Sweep
    records: list[TrialRecord] = field(default_factory=list)
    proposals: list[Proposal] = field(default_factory=list)
    made: list[Attempt] = field(default_factory=list)
    asked: list[Proposal] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def drive(
        self,
        ends: Ends,
        *,
        slots: int = 1,
        seed: int = 0,
        stop_after: int = 10**9,
        rerun: str | None = None,
        disturbed: Callable[[Attempt], bool] = lambda _attempt: False,
    ) -> Driven:
        """Go on from what is kept until nothing is left, or until so many records are there: then
        as if killed. Attempts that are `disturbed` end contended, where they are ok.
        """
        chance = random.Random(seed)
        queue = AttemptQueue(
            self.sweep, "20261122_093000_abcd", "cpu", tuple(self.records), self.proposals
        )
        self.asked = list(queue.kept)
        if rerun is not None:
            queue.rerun(rerun, [HERE])
        running: list[Attempt] = []
        while True:
            while len(running) < queue.ahead * slots and (attempt := self._next(queue)) is not None:
                if (predicted := queue.predicted(attempt)) is not None:
                    self._keep(queue, predicted)
                else:
                    running.append(attempt)
            if not running or len(self.records) >= stop_after:
                self.said = [] if running else list(queue.ended_early())
                return self
            attempt = running.pop(chance.randrange(min(slots, len(running))))
            self.made.append(attempt)
            for record in _records(attempt, ends):
                if record.outcome is Outcome.OK and disturbed(attempt):
                    flags = (*record.flags, Flag.CONTENDED.value)
                    record = record.model_copy(update={"flags": flags})
                self._keep(queue, record)
                if attempt.screened and len(self.records) >= stop_after:
                    return self  # killed between two records of one process
            queue.give_back(attempt)

    def results(self) -> Results:
        """As a sweep directory would give them back."""
        spec = self.sweep.spec
        meta = SweepMeta(
            sweep_id="20261122_093000_abcd", name=spec.name, created_at="2026-11-22T09:30:00+00:00", base_dir=".",
            device="cpu", spec=spec, planned=self.sweep.trials, only=self.sweep.only,
        )  # fmt: skip
        return Results(asked(meta, self.asked) if spec.proposes else meta, tuple(self.records))

    def _next(self, queue: AttemptQueue) -> Attempt | None:
        attempt = queue.next()
        new, queue.proposals = queue.proposals, []
        self.proposals += new
        self.asked += new
        return attempt

    def _keep(self, queue: AttemptQueue, record: TrialRecord) -> None:
        self.records.append(record)
        queue.finished(record)


def values(
    found: Iterable[Attempt | TrialRecord | Proposal], *names: str
) -> list[tuple[object, ...]]:
    """Params, or options by `options.<name>`, of each."""
    trials = [each if isinstance(each, TrialRecord) else each.trial for each in found]
    return [
        tuple(
            trial.options.get(name.removeprefix("options."))
            if name.startswith("options.")
            else trial.params[name]
            for name in names
        )
        for trial in trials
    ]


def _records(attempt: Attempt, ends: Ends) -> Iterator[TrialRecord]:
    """One; of an attempt that screens trials one of each, up to the first that breaks it."""
    if not attempt.screened:
        yield ended(attempt, *ends(attempt.trial))
        return
    for own in attempt.of_each_trial():
        record = ended(own, *ends(own.trial))
        if record.outcome is Outcome.OK:
            record = record.model_copy(update={"flags": (Flag.SCREENED.value,)})
        yield record
        if record.outcome is Outcome.CRASHED:
            return


def ended(attempt: Attempt, outcome: Outcome, latency_ms: float = 1.0) -> TrialRecord:
    """The record of an attempt that ended so; cut where it was to be."""
    ok = outcome is Outcome.OK
    cut = ok and attempt.cut_above_ms is not None and latency_ms * 0.99 > attempt.cut_above_ms
    metrics = {
        "latency_ms": latency_ms, "latency_ci_low_ms": 0.99 * latency_ms, "latency_ci_high_ms": 1.01 * latency_ms,
        "peak_memory_mib": 64.0, "throughput_tokens_per_s": 1000 / latency_ms,
    }  # fmt: skip
    return record_of(
        attempt,
        outcome,
        Phase.DONE,
        "2026-11-22T09:30:00+00:00",
        HERE,
        flags=(Flag.CUT.value,) if cut else (),
        error=None if ok else ErrorInfo(kind="Error", message=f"it ended as {outcome}"),
        metrics=metrics if ok else None,
        values_ms=(latency_ms,) * 6 if ok else None,
        finished_at="2026-11-22T09:30:01+00:00",
    )
