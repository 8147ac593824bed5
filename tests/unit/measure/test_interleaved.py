"""Turns under a clock that makes its own time: what drifts, drifts for both."""

from __future__ import annotations

import gc
from collections.abc import Callable

import numpy as np
import pytest

from orchestrator.measure.clocks import FakeClock
from orchestrator.measure.interleaved import Pair, SideError, block_ratios, measure_interleaved
from orchestrator.spec.models import MeasureProtocol, MeasureSpec
from orchestrator.stats.summary import summarize

GPU = MeasureSpec(min_time_s=1.0).for_device("cuda")


class Machine:
    """Two sides on one clock: a call lasts what its side and the machine's state at that call say."""

    def __init__(
        self, first_s: float, second_s: float, state: Callable[[int], float] = lambda _: 1.0
    ) -> None:
        self.sides: list[int] = []
        self.clock = FakeClock(
            lambda number: (first_s, second_s)[self.sides[-1]] * state(number), 0.002
        )

    def duel(
        self,
        protocol: MeasureProtocol = GPU,
        seed: int = 0,
        cut_above: float | None = None,
        *,
        first_is_warm: bool = False,
    ) -> Pair:
        calls = [[lambda side=side: self.sides.append(side)] for side in (0, 1)]
        clocks = (self.clock, self.clock)
        return measure_interleaved(
            calls, protocol, clocks, seed, cut_above=cut_above, first_is_warm=first_is_warm
        )


def test_two_steady_sides_have_their_own_times_and_ratio() -> None:
    """Either side is measured for min_time_s, in repetitions of its own length."""
    first, second = Machine(0.010, 0.005).duel()
    assert first.summary.median == pytest.approx(10)
    assert second.summary.median == pytest.approx(5)
    assert len(first.values_ms) == len(second.values_ms)
    assert sum(first.values_ms) + sum(second.values_ms) == pytest.approx(2000, rel=0.05)
    assert block_ratios(first.values_ms, second.values_ms) == pytest.approx(0.5)


@pytest.mark.slow
def test_the_order_of_blocks_is_drawn_and_reproducible() -> None:
    """Both orders occur, each side twice a block; the same seed gives the same order, another
    another.
    """
    machine = Machine(0.010, 0.010)
    machine.duel()
    timed = machine.sides[-160:]
    blocks = {tuple(timed[start : start + 4]) for start in range(0, 160, 4)}
    assert blocks == {(0, 1, 1, 0), (1, 0, 0, 1)}
    same, other = Machine(0.010, 0.010), Machine(0.010, 0.010)
    same.duel()
    other.duel(seed=1)
    assert same.sides == machine.sides
    assert other.sides[-160:] != timed


@pytest.mark.slow
def test_a_drift_that_no_single_measurement_survives_leaves_the_ratio_alone() -> None:
    """The machine slows down by a half meanwhile; that one side is 2 % slower is seen all the same."""
    noise = 1 + 0.003 * np.random.default_rng(0).standard_normal(20_000)
    first, second = Machine(0.010, 0.0102, lambda n: (1 + n / 400) * noise[n % 20_000]).duel()
    assert first.summary.half_width > 0.02
    ratios = summarize(block_ratios(first.values_ms, second.values_ms).tolist())
    assert ratios.median == pytest.approx(1.02, abs=0.003)
    assert ratios.half_width <= GPU.target_ci


@pytest.mark.slow
def test_noise_asks_for_more_blocks_and_the_longest_time_wins() -> None:
    """The rule looks at the ratio's interval; twice max_time_s is the end."""
    quiet, loud = (
        1 + spread * np.random.default_rng(0).standard_normal(20_000) for spread in (0.001, 0.02)
    )
    few = Machine(0.010, 0.010, lambda n: quiet[n % 20_000]).duel()[0]
    many = Machine(0.010, 0.010, lambda n: loud[n % 20_000]).duel()[0]
    assert len(few.values_ms) < len(many.values_ms)
    wild = 1 + 0.5 * np.random.default_rng(0).random(20_000)
    given_up = Machine(0.010, 0.010, lambda n: wild[n % 20_000]).duel(
        GPU.model_copy(update={"max_time_s": 1.5})
    )
    assert sum(sum(side.values_ms) for side in given_up) == pytest.approx(3000, rel=0.05)


@pytest.mark.parametrize(("second_s", "repetitions"), [(0.012, 12), (0.0105, 100)])
def test_one_that_is_plainly_slower_is_not_timed_any_longer(
    second_s: float, repetitions: int
) -> None:
    """As soon as the ratio's whole interval lies above the limit; below it the least time holds."""
    first, second = Machine(0.010, second_s).duel(cut_above=1.1)
    assert len(first.values_ms) == len(second.values_ms) == pytest.approx(repetitions, rel=0.1)
    assert second.summary.median == pytest.approx(1000 * second_s)


def test_a_side_that_was_timed_just_now_is_not_warmed_up() -> None:
    """Its blocks have the same length, and its times are the same."""
    cold, warm = Machine(0.0005, 0.0005), Machine(0.0005, 0.0005)
    (first, second), (again, other) = cold.duel(), warm.duel(first_is_warm=True)
    assert again.iterations_per_repetition == first.iterations_per_repetition > 1
    assert again.summary.median == pytest.approx(first.summary.median)
    assert other.summary.median == pytest.approx(second.summary.median)
    saved = cold.sides.count(0) - warm.sides.count(0)
    assert saved * 0.0005 == pytest.approx(GPU.warmup_s, rel=0.2)
    assert cold.sides.count(1) == warm.sides.count(1)


def test_what_a_side_raises_is_that_side_s() -> None:
    """And the collector is back on."""

    def fails() -> None:
        raise RuntimeError("gone")

    clock = FakeClock(lambda _: 0.01)
    with pytest.raises(SideError) as caught:
        measure_interleaved([[lambda: None], [fails]], GPU, (clock, clock), 0)
    assert caught.value.side == 1
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert gc.isenabled()
