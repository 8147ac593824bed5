"""Two implementations timed in one process, in turns: ABBA or BAAB by lot, so that whatever drifts
falls on both alike.

A block is four repetitions, two of either side. Its ratio is what the stopping rule and the
comparison look at: what slows the machine for longer than a block slows both sides, and their ratio
not at all.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from orchestrator.measure.clocks import Clock
from orchestrator.measure.protocol import (
    FEWEST_TO_CUT,
    LOOK_AGAIN,
    Bench,
    Measurement,
    collector_off,
    find_length,
    is_settled,
    judged,
    lies_above,
    warm_up,
)
from orchestrator.spec.models import MeasureProtocol
from orchestrator.stats.ratio import block_ratios
from orchestrator.stats.summary import summarize

Result = TypeVar("Result")
Pair = tuple[Measurement, Measurement]
ORDERS = ((0, 1, 1, 0), (1, 0, 0, 1))


class SideError(Exception):
    """A call of one side raised; the exception is its cause."""

    def __init__(self, side: int) -> None:
        self.side = side
        super().__init__(f"side {side} raised")


def measure_interleaved(
    calls: Sequence[Sequence[Callable[[], object]]],
    protocol: MeasureProtocol,
    clocks: Sequence[Clock],
    seed: int,
    calls_made: int = 1,
    cut_above: float | None = None,
    first_is_warm: bool = False,
) -> Pair:
    """Time two sides in turns; repetitions 2k and 2k + 1 of either side are from one block.

    Args:
        calls: of either side: one callable per set of inputs.
        protocol: its times and counts hold for either side; its target for the ratio within this
            process.
        clocks: of either side; the first keeps the budget.
        seed: draws the order of each block.
        calls_made: calls made of each side already; they count as warm-up.
        cut_above: stop as soon as the whole interval of the second's time over the first's lies
            above this; None: never.
        first_is_warm: whether the first side was timed just now.

    Raises:
        SideError: a call raised.
    """
    benches = [Bench(own, clock, None) for own, clock in zip(calls, clocks, strict=True)]
    notes: list[tuple[str, ...]] = []
    with collector_off():
        for side, bench in enumerate(benches):
            if side == 0 and first_is_warm:
                _of(side, partial(find_length, bench))
                notes.append(())
            else:
                notes.append(_of(side, partial(warm_up, bench, protocol, calls_made)))
        series = _blocks(benches, protocol, random.Random(seed), cut_above)
    first, second = (
        judged(benches[side], series[side], protocol, notes[side], {}) for side in (0, 1)
    )
    return first, second


def _blocks(
    benches: Sequence[Bench],
    protocol: MeasureProtocol,
    rng: random.Random,
    cut_above: float | None,
) -> tuple[list[float], list[float]]:
    """Seconds per call of each repetition of either side, until their ratio is known, or known to
    be above the limit, or the time is up.
    """
    clock = benches[0].clock
    start = clock.now()
    series: tuple[list[float], list[float]] = ([], [])
    look_at, cut_at = protocol.min_repetitions, 2 * FEWEST_TO_CUT
    while True:
        for side in rng.choice(ORDERS):
            series[side].append(_of(side, benches[side].repetition))
        spent, count = clock.now() - start, len(series[0])
        if spent >= 2 * protocol.max_time_s:
            return series
        if cut_above is not None and count >= cut_at:
            if lies_above(block_ratios(*series).tolist(), cut_above):
                return series
            cut_at = math.ceil(LOOK_AGAIN * count)
        if count >= look_at and spent >= 2 * protocol.min_time_s:
            if is_settled(summarize(block_ratios(*series).tolist()), protocol):
                return series
            look_at = math.ceil(LOOK_AGAIN * count)


def _of(side: int, action: Callable[[], Result]) -> Result:
    try:
        return action()
    except BaseException as error:
        raise SideError(side) from error
