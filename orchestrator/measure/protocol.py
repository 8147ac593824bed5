"""The measuring protocol: warm up until steady, repeat until the interval is tight, keep every
repetition.

Nothing here knows a device: a `Clock` times blocks of calls, this module decides how many, how
often and when to stop.
"""

from __future__ import annotations

import gc
import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from orchestrator.measure.clocks import Call, Clock
from orchestrator.outcome import Flag
from orchestrator.spec.models import MeasureProtocol
from orchestrator.stats.noise import max_drift, noise_reasons
from orchestrator.stats.summary import Summary, summarize

FEWEST_WARM_UP_CALLS = 3
FEWEST_TO_CUT = 6  # repetitions before an interval says that a call is plainly slower than another
FEWEST_INDEPENDENT = 10  # fewer independent repetitions cannot show how far they hang together
LOOK_AGAIN = 1.25  # the interval is looked at anew when the count has grown by this factor
EXTRAS_BUDGET_S = 0.06
MOST_WARM_UP = 0.1  # share of max_time_s after which a warm-up that is not steady ends, with a note


@dataclass(frozen=True)
class Measurement:
    """What timing one trial in one process gave; milliseconds per call.

    Attributes:
        values_ms: every repetition in its order; each is a block of `iterations_per_repetition`
            calls, per call.
        summary: of values_ms.
        flags: `noisy`, or `cut`, or nothing.
        notes: why it is flagged, and what else a reader should know.
        extras: figures under names of their own (host_latency_ms, cold_latency_ms), never mixed
            with the latency.
    """

    values_ms: tuple[float, ...]
    summary: Summary
    flags: tuple[str, ...]
    notes: tuple[str, ...]
    iterations_per_repetition: int
    extras: Mapping[str, float] = field(default_factory=dict)

    def metrics(self) -> dict[str, float | None]:
        """The figures by their names in the journal."""
        return {
            "latency_ms": self.summary.median,
            "latency_ci_low_ms": self.summary.ci_low,
            "latency_ci_high_ms": self.summary.ci_high,
            "noise_pct": self.summary.noise_pct,
            "repetitions": float(len(self.values_ms)),
            "iterations_per_repetition": float(self.iterations_per_repetition),
            **self.extras,
        }


def measure(
    calls: Sequence[Callable[[], object]],
    protocol: MeasureProtocol,
    clock: Clock,
    *,
    before: Callable[[], object] | None = None,
    calls_made: int = 1,
    warmed_s: float = 0.0,
    cut_above_ms: float | None = None,
) -> Measurement:
    """Time `calls`, which do the same work on different inputs and take turns.

    Args:
        calls: one callable per set of inputs, at least one.
        protocol: times, counts and target; see measurement.md.
        clock: of the trial's device.
        before: runs ahead of each call outside the timed region (clears gradients, say).
        calls_made: calls made already (first call, verification); they count as warm-up.
        warmed_s: seconds in which calls were just made back to back; they count as warm-up.
        cut_above_ms: stop as soon as the whole interval lies above this, and flag it `cut`; None:
            never.
    """
    bench = Bench(calls, clock, before)
    with collector_off():
        notes = warm_up(bench, protocol, calls_made, warmed_s)
        seconds, was_cut = _repeat(
            bench, protocol, None if cut_above_ms is None else cut_above_ms / 1000
        )
        if was_cut and cut_above_ms is not None:
            return _cut(bench, seconds, cut_above_ms, notes)
        extras = clock.extras(calls, before, min(EXTRAS_BUDGET_S, protocol.max_time_s / 4))
    return judged(bench, seconds, protocol, notes, extras)


def _cut(
    bench: Bench, seconds: Sequence[float], above_ms: float, notes: Sequence[str]
) -> Measurement:
    """The measurement of a call that is plainly slower than what it is compared with: wide, and not
    to be doubted.
    """
    values_ms = tuple(1000 * value for value in seconds)
    why = (
        f"cut after {len(values_ms)} repetitions: its interval lies above {above_ms:.4g} ms, so "
        "that another is best"
    )
    flags, rest = (Flag.CUT.value,), (*notes, *bench.clock.notes)
    return Measurement(values_ms, summarize(values_ms), flags, (why, *rest), bench.iterations)


def judged(
    bench: Bench,
    seconds: Sequence[float],
    protocol: MeasureProtocol,
    notes: Sequence[str],
    extras: Mapping[str, float],
) -> Measurement:
    """The measurement that `seconds` per call of each repetition amount to, with the doubts about
    it.
    """
    values_ms = tuple(1000 * value for value in seconds)
    summary = summarize(values_ms)
    reasons = noise_reasons(values_ms, summary, protocol)
    flags = (Flag.NOISY.value,) if reasons else ()
    return Measurement(
        values_ms, summary, flags, (*reasons, *notes, *bench.clock.notes), bench.iterations, extras
    )


@contextmanager
def collector_off(*, collect: bool = True) -> Iterator[None]:
    """Python's garbage collector runs once, if it is to `collect`, then not at all until the block
    ends.
    """
    was_on = gc.isenabled()
    if collect:
        gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class Bench:
    """Calls that take turns, in blocks of `iterations`; `made` counts them."""

    def __init__(self, calls: Sequence[Call], clock: Clock, before: Call | None) -> None:
        self.clock = clock
        self.iterations = 1
        self.made = 0
        self._calls = calls
        self._before = before

    def repetition(self) -> float:
        """Seconds per call of one block."""
        turns = range(self.made, self.made + self.iterations)
        self.made += self.iterations
        block = [self._calls[turn % len(self._calls)] for turn in turns]
        return self.clock.time(block, self._before) / self.iterations

    def grow(self, seconds: float) -> bool:
        """Lengthen the block to the clock's minimum, given the seconds per call; False if it is
        long enough.
        """
        if (
            seconds * self.iterations >= 0.9 * self.clock.min_block_s
            or self.iterations >= self.clock.max_calls
        ):
            return False
        wanted = math.ceil(self.clock.min_block_s / max(seconds, 1e-9))
        self.iterations = min(
            max(wanted, self.iterations + 1), 8 * self.iterations, self.clock.max_calls
        )
        return True


def warm_up(
    bench: Bench, protocol: MeasureProtocol, calls_made: int, warmed_s: float = 0.0
) -> tuple[str, ...]:
    """Call until the block is long enough, `warmup_s` is over and successive windows agree.

    Steadiness decides; `warmup_s` is only the least. Returns a note if the windows never agreed.
    """
    start = bench.clock.now()
    most_s = max(4 * protocol.warmup_s, MOST_WARM_UP * protocol.max_time_s)
    steady = max_drift(protocol)
    windows: list[float] = []
    while True:
        spent = bench.clock.now() - start
        met = calls_made + bench.made >= FEWEST_WARM_UP_CALLS or spent >= protocol.max_time_s
        if met and spent + warmed_s >= protocol.warmup_s and _steady(windows, steady):
            return ()
        if met and spent >= most_s:
            if len(windows) < 6:
                return ()
            return (f"medians still moved by more than {steady:.0%} when warm-up ended",)
        seconds = bench.repetition()
        windows = [] if bench.grow(seconds) else [*windows, seconds]


def find_length(bench: Bench) -> None:
    """Lengthen the block until it is long enough: all that calls need which were timed just now."""
    while bench.grow(bench.repetition()):
        pass


def _steady(windows: Sequence[float], within: float) -> bool:
    """Whether the last third and the third before it have medians `within` a fraction of one
    another.
    """
    third = len(windows) // 3
    if third < 2:
        return False
    last, previous = (
        statistics.median(windows[-third:]),
        statistics.median(windows[-2 * third : -third]),
    )
    return abs(last - previous) <= within * previous


def is_settled(summary: Summary, protocol: MeasureProtocol) -> bool:
    """Whether the interval is tight, and enough independent values say so."""
    tight = summary.half_width <= protocol.target_ci
    return tight and summary.independent >= FEWEST_INDEPENDENT


def lies_above(values: Sequence[float], limit: float) -> bool:
    """Whether the whole interval of the values does."""
    low = summarize(values).ci_low
    return low is not None and low > limit


def _repeat(
    bench: Bench, protocol: MeasureProtocol, limit: float | None
) -> tuple[list[float], bool]:
    """Seconds per call of each repetition, until the interval is tight or the time is up, which
    always wins.

    Or until the interval lies above the limit, in seconds: (the repetitions, whether that is why
    they ended).
    """
    start = bench.clock.now()
    values: list[float] = []
    look_at, cut_at = protocol.min_repetitions, FEWEST_TO_CUT
    while True:
        values.append(bench.repetition())
        spent = bench.clock.now() - start
        if spent >= protocol.max_time_s:
            return values, False
        if limit is not None and len(values) >= cut_at:
            if lies_above(values, limit):
                return values, True
            cut_at = math.ceil(LOOK_AGAIN * len(values))
        if len(values) >= look_at and spent >= protocol.min_time_s:
            if is_settled(summarize(values), protocol):
                return values, False
            look_at = math.ceil(LOOK_AGAIN * len(values))
