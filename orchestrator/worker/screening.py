"""Screens candidates of a search: one after another in one process, each verified, then timed
briefly in turns with the best so far.

A candidate's time is stated as its ratio to the incumbent, times the incumbent's time: a machine
that gets slower in the meantime slows both, so that drift chooses nothing. What is found here
decides only which candidates are measured by themselves.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from orchestrator.attempt_result import AttemptResult
from orchestrator.machine import environment
from orchestrator.measure.memory import NOTHING_KNOWN, release
from orchestrator.measure.phase_times import PhaseTimes
from orchestrator.measure.protocol import Measurement
from orchestrator.outcome import Flag, Outcome, Phase
from orchestrator.record import utc_now
from orchestrator.stats.ratio import block_ratios
from orchestrator.stats.summary import Summary, summarize
from orchestrator.trial import Attempt
from orchestrator.usercode.imported import imported_since
from orchestrator.util.frozen_model import FrozenModel
from orchestrator.verify.references import SharedReferences
from orchestrator.worker.calls import RotatedInputs
from orchestrator.worker.duel import EndedSide, Side, turns
from orchestrator.worker.run_attempt import record_with
from orchestrator.worker.trial_end import TrialEnd

# of the incumbent's time; a candidate whose whole interval lies above it is not timed any longer
PLAINLY_SLOWER = 1.1

OnPhase = Callable[[Phase], None]
OnResult = Callable[[AttemptResult], object]


class Screened(FrozenModel):
    """What a process that screened returns: how many trials it came to."""

    count: int


def screen(attempt: Attempt, on_phase: OnPhase, on_result: OnResult) -> Screened:
    """Screen the trials of an attempt in this process.

    Args:
        attempt: with `screened`, and what they are compared with.
        on_phase: hears of each phase of each trial as it begins.
        on_result: is given each trial's result as soon as it has ended.
    """
    facts = environment.describe(
        attempt.device, attempt.resources.gpu_memory_gib, attempt.resources.cpus
    )
    before = frozenset(sys.modules)
    shared = SharedReferences()
    incumbent = _incumbent(attempt, shared)
    count = 0
    for own in attempt.of_each_trial():
        started_at, times = utc_now(), PhaseTimes(str(Phase.BUILD))

        def enter(phase: Phase, times: PhaseTimes = times) -> None:
            times.enter(str(phase))
            on_phase(phase)

        enter(Phase.BUILD)
        side = _ready(own, enter, shared)
        if side.end is None:
            incumbent = _compared(own, side, incumbent, enter)
            side.stages.rotated = RotatedInputs()  # what they take is the next one's
        assert side.end is not None
        record = record_with(own, side.phase, started_at, facts, side.end)
        record = record.model_copy(update={"phase_s": times.seconds()})
        result = AttemptResult(record=record)
        with suppress(Exception):  # modules are what users put into sys.modules
            imported = imported_since(before, own.base_dir)
            result = result.model_copy(update={"imported": imported})
        on_result(result)
        count += 1
        if count == 1:
            # what the first one imported is not looked through again: a collection, of which each
            # trial has three, takes a tenth of a second without this
            gc.collect()
            gc.freeze()
    gc.unfreeze()
    on_phase(Phase.DONE)
    return Screened(count=count)


def screen_here(attempt: Attempt, on_phase: OnPhase) -> AttemptResult:
    """Screen the trials of an attempt in this process; all their results in one."""
    results: list[AttemptResult] = []
    screen(attempt, on_phase, results.append)
    others = tuple(result.record for result in results[1:])
    return results[0].model_copy(update={"others": others, "imported": results[-1].imported})


class _Incumbent:
    """The best so far, ready to be called; its latency; whether it was timed in this process."""

    def __init__(self, side: Side, latency_ms: float, *, is_warm: bool) -> None:
        self.side = side
        self.latency_ms = latency_ms
        self.is_warm = is_warm


def _ready(attempt: Attempt, enter: OnPhase, shared: SharedReferences) -> Side:
    """A trial that is ready to be timed, or has ended; tried again where what the trials share
    takes the memory that this one needs.
    """
    side = Side(attempt, enter, shared)
    side.take(side.stages.ready)
    if side.end is None or side.end.outcome is not Outcome.OOM or not shared.by_problem:
        return side
    device = side.stages.config.device
    del side  # it holds tensors
    shared.forget()
    release(device)
    again = Side(attempt, enter, shared)
    again.take(again.stages.ready)
    return again


def _incumbent(attempt: Attempt, shared: SharedReferences) -> _Incumbent | None:
    """The incumbent that the attempt names; None: it names none, or that one fails here."""
    if attempt.incumbent is None or attempt.incumbent_ms is None:
        return None
    own = attempt.of_each_trial()[0].model_copy(update={"trial": attempt.incumbent})
    side = _ready(own, lambda _phase: None, shared)
    if side.end is not None:
        return None
    return _Incumbent(side, attempt.incumbent_ms, is_warm=False)


def _compared(
    attempt: Attempt, side: Side, incumbent: _Incumbent | None, enter: OnPhase
) -> _Incumbent | None:
    """Time a candidate that is ready, which ends it; the incumbent from now on.

    Without an incumbent it takes turns with itself, and is the incumbent if that goes well.
    """
    enter(Phase.MEASURE)
    side.phase = Phase.MEASURE
    held = incumbent or _Incumbent(side, 0.0, is_warm=False)
    found = _in_turns(attempt, held, side)
    if isinstance(found, EndedSide):
        if found.side is side:
            side.end = TrialEnd.of_error(found.how)
            return incumbent
        release(side.stages.config.device)
        return _compared(attempt, side, None, enter)
    held.is_warm = True
    base, own = found
    level_ms = held.latency_ms or own.summary.median
    ratios = summarize(block_ratios(base.values_ms, own.values_ms).tolist())

    def check() -> TrialEnd:
        side.stages.rate(own)
        side.stages.figures |= NOTHING_KNOWN
        side.phase = Phase.DONE
        return _end(side, own, ratios, level_ms, incumbent)

    end = side.take(check)
    if side.end is not None:
        return incumbent
    side.end = end
    if incumbent is None:
        return _Incumbent(side, level_ms, is_warm=True)
    if ratios.ci_high is not None and ratios.ci_high < 1:
        return _Incumbent(side, level_ms * ratios.median, is_warm=True)
    return incumbent


def _in_turns(
    attempt: Attempt, held: _Incumbent, side: Side
) -> tuple[Measurement, Measurement] | EndedSide:
    """Both measurements; on one set of inputs each where more take the memory that a call needs."""
    base, is_warm = held.side, held.is_warm
    counts = [base.stages.input_sets(), side.stages.input_sets()]
    found = turns(attempt, (base, side), counts, PLAINLY_SLOWER, first_is_warm=is_warm)
    if isinstance(found, EndedSide) and found.how.outcome is Outcome.OOM and max(counts) > 1:
        del found  # its traceback holds tensors
        for one in (base, side):
            one.stages.forget_inputs()
        found = turns(attempt, (base, side), [1, 1], PLAINLY_SLOWER, first_is_warm=is_warm)
    return found


def _end(
    side: Side, own: Measurement, ratios: Summary, level_ms: float, incumbent: _Incumbent | None
) -> TrialEnd:
    """The end of a screened trial: its times by the incumbent's, and a note that says so.

    What it is flagged for is that it was screened: so brief a measurement is always a noisy one.
    """
    end = side.stages.end(own)
    flags = [flag for flag in end.flags if flag != Flag.NOISY]
    end = replace(end, flags=(*flags, Flag.SCREENED.value))
    if incumbent is None:
        return replace(end, notes=("screened: timed in a shared process, the first there",))
    times = {"latency_ms": level_ms * ratios.median}
    if ratios.ci_low is not None and ratios.ci_high is not None:
        times["latency_ci_low_ms"] = level_ms * ratios.ci_low
        times["latency_ci_high_ms"] = level_ms * ratios.ci_high
    scale = times["latency_ms"] / own.summary.median
    options = incumbent.side.stages.attempt.trial.options
    beside = ", ".join(f"{name}={value}" for name, value in options.items()) or "no option set"
    note = f"screened: {ratios.median:.4g} of the time of {beside}, in turns in a shared process"
    return replace(
        end,
        notes=(note,),
        metrics={**(end.metrics or {}), **times},
        values_ms=tuple(scale * value for value in own.values_ms),
    )
