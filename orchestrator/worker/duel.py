"""The stages of a duel's attempt: both sides built and verified in one process, timed in turns,
verified again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.measure.interleaved import Pair, SideError, measure_interleaved
from orchestrator.measure.memory import NOTHING_KNOWN, release
from orchestrator.measure.protocol import Measurement
from orchestrator.outcome import Outcome, Phase
from orchestrator.trial import Attempt
from orchestrator.usercode.implementation import AttemptEndedError, user_code
from orchestrator.verify.references import SharedReferences
from orchestrator.verify.seeds import derived_seed
from orchestrator.worker.stages import Stages
from orchestrator.worker.trial_end import TrialEnd


class Side:
    """One of the two: its stages, the phase it is in, and how it ended, once it has.

    `shared`: references of the trials that are screened with it; None: it is not screened.
    A duel is about time: what memory either takes is not told, for the other's is in the same
    process.
    """

    def __init__(
        self,
        attempt: Attempt,
        enter: Callable[[Phase], None],
        shared: SharedReferences | None = None,
    ) -> None:
        self.phase = Phase.BUILD
        self.end: TrialEnd | None = None
        self._enter = enter
        own = attempt.model_copy(update={"energy": False})
        self.stages = Stages(own, self._entered, shared=shared)

    def take(self, stage: Callable[[], Any]) -> Any:
        """What `stage` returns; None once this side has ended, which it does with whatever the
        stage raises.
        """
        if self.end is not None:
            return None
        try:
            return stage()
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is this side's end and not the other's
            self.end = TrialEnd.of_error(error)
        return None

    def measured(self, measurement: Measurement) -> None:
        """It was timed: verify it again, and this is how it ended."""

        def check() -> TrialEnd:
            self.stages.verify_again(measurement)
            self.stages.rate(measurement)
            self.stages.figures |= NOTHING_KNOWN
            self.phase = Phase.DONE
            return self.stages.end(measurement)

        end = self.take(check)
        self.end = self.end or end

    def alone(self, other: Side) -> None:
        """Measure it without the other, which has ended."""
        end = self.take(self.stages.measured_alone)
        if end is None:
            return
        assert other.end is not None
        self.phase = Phase.DONE
        name = other.stages.attempt.trial.implementation
        note = f"measured alone: {name} ended as {other.end.outcome}"
        metrics = {**(end.metrics or {}), **NOTHING_KNOWN}
        self.end = replace(end, metrics=metrics, notes=(*end.notes, note))

    def _entered(self, phase: Phase) -> None:
        self.phase = phase
        self._enter(phase)


def duel(attempt: Attempt, enter: Callable[[Phase], None]) -> tuple[Side, Side]:
    """Run a duel's attempt to the end of both sides; each has its `end`.

    One that ends before both are timed leaves the other to be measured alone: no ratio comes of it.
    """
    first, second = (Side(one, enter) for one in attempt.of_each_trial())
    for side in (first, second):
        side.take(side.stages.ready)
    if first.end is None and second.end is None:
        _timed_in_turns(attempt, first, second, enter)
    for side, other in ((first, second), (second, first)):
        if side.end is None:
            side.alone(other)
    return first, second


def _timed_in_turns(
    attempt: Attempt, first: Side, second: Side, enter: Callable[[Phase], None]
) -> None:
    """Both measured, or one ended. Rotated inputs may take the memory that a call needs: then
    without them.
    """
    sides = (first, second)
    enter(Phase.MEASURE)
    for side in sides:
        side.phase = Phase.MEASURE
    counts = [side.stages.input_sets() for side in sides]
    found = turns(attempt, sides, counts)
    if isinstance(found, EndedSide) and found.how.outcome is Outcome.OOM and max(counts) > 1:
        del found  # its traceback holds tensors
        for side in sides:
            side.stages.forget_inputs()
        found = turns(attempt, sides, [1, 1])
    if isinstance(found, EndedSide):
        found.side.end = TrialEnd.of_error(found.how)
        release(first.stages.config.device)
        return
    for side, measurement in zip(sides, found, strict=True):
        side.measured(measurement)


@dataclass(frozen=True)
class EndedSide:
    """Which side ended while both were timed, and how."""

    side: Side
    how: AttemptEndedError


def turns(
    attempt: Attempt,
    sides: tuple[Side, Side],
    counts: Sequence[int],
    cut_above: float | None = None,
    *,
    first_is_warm: bool = False,
) -> Pair | EndedSide:
    """Both timed on so many sets of inputs, or which side ended, and how; `cut_above` and
    `first_is_warm`: see `measure_interleaved`.
    """
    import torch

    calls = []
    for side, count in zip(sides, counts, strict=True):
        try:
            with user_code():
                calls.append(side.stages.calls(count))
        except AttemptEndedError as ended:
            return EndedSide(side, ended)
    try:
        with torch.set_grad_enabled(sides[0].stages.subject.backward):
            clocks = [side.stages.clock() for side in sides]
            seed = derived_seed(attempt.seed, "turns", attempt.round, attempt.attempt)
            return measure_interleaved(
                calls,
                attempt.protocol,
                clocks,
                seed,
                calls_made=2,
                cut_above=cut_above,
                first_is_warm=first_is_warm,
            )
    except SideError as error:
        return EndedSide(sides[error.side], _as_ended(error.__cause__))


def _as_ended(error: BaseException | None) -> AttemptEndedError:
    try:
        with user_code():
            raise error or AssertionError("a side's error has a cause")
    except AttemptEndedError as ended:
        return ended
