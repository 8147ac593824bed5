"""The protocol under a clock that makes its own time."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable

import numpy as np
import pytest

from orchestrator.measure.clocks import FakeClock
from orchestrator.measure.protocol import Measurement, measure
from orchestrator.spec.models import MeasureProtocol, MeasureSpec

GPU = MeasureSpec().for_device("cuda")
CPU = MeasureSpec().for_device("cpu")


def nothing() -> None:
    """A call that does no work: the fake clock says how long it took."""


def timed(
    duration: Callable[[int], float], protocol: MeasureProtocol = GPU, min_block_s: float = 0.002
) -> Measurement:
    """One measurement of calls that last what `duration` says, in seconds by call number."""
    return measure([nothing], protocol, FakeClock(duration, min_block_s))


def noise(seed: int, level: float, spread: float) -> Callable[[int], float]:
    """Durations around a level, the same for the same seed."""
    series = level * (1 + spread * np.random.default_rng(seed).standard_normal(20_000))
    return lambda number: float(series[number % len(series)])


@pytest.mark.slow
def test_a_steady_call_is_measured_for_the_least_time_and_no_longer() -> None:
    """A quiet 2 ms call needs min_time_s, 50 repetitions; one of 10 ms needs min_repetitions."""
    found = timed(lambda _: 0.002)
    assert found.summary.median == pytest.approx(2)
    assert len(found.values_ms) == 50
    assert len(timed(lambda _: 0.010).values_ms) == 20
    assert found.iterations_per_repetition == 1
    assert found.flags == ()


def test_short_calls_are_timed_in_blocks() -> None:
    """Calls of 10 us are timed 200 at a time, and reported per call."""
    found = timed(lambda _: 0.000_010)
    assert found.iterations_per_repetition == 200
    assert found.summary.median == pytest.approx(0.010)


def test_a_block_has_at_most_as_many_calls_as_the_clock_can_hold() -> None:
    """However short the call, the launch queue bounds the block."""
    clock = FakeClock(lambda _: 1e-5, min_block_s=0.002, max_calls=64)
    assert measure([nothing], CPU, clock).iterations_per_repetition == 64


def test_warm_up_waits_until_the_medians_settle() -> None:
    """A call that speeds up for its first 400 runs is not timed before it has settled."""
    found = timed(lambda number: 0.002 * (1 + max(0.0, 1 - number / 400)))
    assert max(found.values_ms) == pytest.approx(2, rel=0.01)


def test_a_warm_up_that_never_settles_is_capped_and_noted() -> None:
    """A call that slows down for ever is measured all the same; the row says so."""
    found = timed(lambda number: 0.002 * 1.01**number, GPU.model_copy(update={"max_time_s": 1.0}))
    assert any("warm-up" in note for note in found.notes)
    assert "noisy" in found.flags


def test_a_slow_call_does_not_spend_its_budget_on_warm_up() -> None:
    """With the first call made, a 1 s call warms up twice more and is timed for max_time_s."""
    clock = FakeClock(lambda _: 1.0, min_block_s=0.002)
    found = measure([nothing], CPU, clock, calls_made=1)
    assert len(found.values_ms) == 3
    assert clock.calls == 5


def test_the_longest_time_always_wins() -> None:
    """A noisy call is given up at max_time_s, flagged, and the width it reached is named."""
    found = timed(noise(0, 0.020, 0.3), GPU)
    assert sum(found.values_ms) == pytest.approx(10_000, rel=0.05)
    assert found.flags == ("noisy",)
    assert any("target_ci" in note for note in found.notes)


@pytest.mark.slow
def test_more_noise_asks_for_more_repetitions() -> None:
    """The rule goes on until the interval is tight, and then stops."""
    quiet, loud = timed(noise(0, 0.010, 0.002)), timed(noise(0, 0.010, 0.019))
    assert len(quiet.values_ms) < len(loud.values_ms)
    assert loud.summary.half_width <= GPU.target_ci


def test_a_call_that_is_plainly_slower_is_cut_flagged_and_not_doubted() -> None:
    """As soon as its interval lies above the limit; a wide interval is then no reason to call it
    noisy.
    """
    found = timed_against(30.0, noise(0, 0.050, 0.1))
    assert found.flags == ("cut",)
    assert len(found.values_ms) == 6
    assert found.notes[0].startswith("cut after 6 repetitions: its interval lies above 30 ms")
    assert found.metrics()["latency_ci_low_ms"] > 30


@pytest.mark.slow
@pytest.mark.parametrize("limit_ms", [49.9, 80.0])
def test_a_call_that_may_yet_be_best_is_measured_in_full(limit_ms: float) -> None:
    """Its interval holds the limit, or lies below it."""
    found, plain = timed_against(limit_ms, noise(0, 0.050, 0.1)), timed(noise(0, 0.050, 0.1), GPU)
    assert found == plain
    assert "cut" not in found.flags


def timed_against(limit_ms: float, duration: Callable[[int], float]) -> Measurement:
    return measure([nothing], GPU, FakeClock(duration, 0.002), cut_above_ms=limit_ms)


def test_a_single_repetition_is_allowed_and_doubted() -> None:
    """min_repetitions 1 and a call longer than max_time_s give one value, no interval, and a flag."""
    protocol = MeasureSpec(min_repetitions=1, max_time_s=0.5, warmup_s=0.0).for_device("cpu")
    found = timed(lambda _: 1.0, protocol)
    assert found.values_ms == (1000.0,)
    assert found.metrics()["latency_ci_low_ms"] is None
    assert found.flags == ("noisy",)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("protocol", "level", "spread", "least"),
    [(GPU, 0.010, 0.01, 0.92), (GPU, 0.010, 0.03, 0.92), (CPU, 0.050, 0.05, 0.88)],
)
def test_the_interval_keeps_its_word_under_the_stopping_rule(
    protocol: MeasureProtocol,
    level: float,
    spread: float,
    least: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Stopping as soon as the interval looks tight does not make it a lie."""
    monkeypatch.setattr(
        gc, "collect", int
    )  # a full collection of the tests' heap, 450 times over, is all it would cost
    hits = 0
    for seed in range(150):
        summary = timed(noise(seed, level, spread), protocol).summary
        assert summary.ci_low is not None
        assert summary.ci_high is not None
        hits += summary.ci_low <= 1000 * level <= summary.ci_high
    assert hits / 150 >= least


def wandering(seed: int, level: float, correlation: float) -> Callable[[int], float]:
    """Calls of `level` seconds with 3 % of noise whose neighbours correlate: a load that wanders."""
    rng = np.random.default_rng(seed)
    own = math.sqrt(1 - correlation**2)
    series = [rng.standard_normal()]
    for step in rng.standard_normal(4000):
        series.append(correlation * series[-1] + own * step)
    return lambda number: level * (1 + 0.03 * series[number])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("level", "correlation", "least"),
    [
        (0.050, 0.0, 0.93),
        (0.050, 0.5, 0.93),
        (0.050, 0.8, 0.93),
        (0.050, 0.95, 0.90),
        (0.004, 0.9, 0.92),
        (0.004, 0.97, 0.90),
    ],
)
def test_slow_calls_on_a_machine_whose_load_wanders(
    level: float, correlation: float, least: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five values cannot show that neighbours are alike, and do not end the timing."""
    monkeypatch.setattr(gc, "collect", int)
    hits = 0
    for seed in range(100):
        summary = timed(wandering(seed, level, correlation), CPU).summary
        hits += summary.ci_low is None or summary.ci_high is None
        hits += (summary.ci_low or math.inf) <= 1000 * level <= (summary.ci_high or 0.0)
    assert hits / 100 >= least


def test_two_modes_end_in_a_flag() -> None:
    """A call that is 5 % slower a third of the time, at random, is flagged with both modes."""
    slow = np.random.default_rng(0).random(20_000) < 1 / 3
    found = timed(lambda number: 0.010 * (1.05 if slow[number % 20_000] else 1.0))
    assert any("two modes" in note for note in found.notes)


def test_inputs_take_turns() -> None:
    """Every set of inputs is called as often as any other."""
    counts = [0, 0, 0]

    def use(which: int) -> Callable[[], None]:
        def call() -> None:
            counts[which] += 1

        return call

    measure([use(which) for which in range(3)], GPU, FakeClock(lambda _: 0.0007, 0.002))
    assert max(counts) - min(counts) <= 1


def test_gradients_are_cleared_before_every_call() -> None:
    """`before` runs ahead of each call, warm-up included."""
    events: list[str] = []
    measure(
        [lambda: events.append("call")],
        CPU,
        FakeClock(lambda _: 0.1),
        before=lambda: events.append("clear"),
        calls_made=3,
    )
    assert events == ["clear", "call"] * (len(events) // 2)
    assert len(events) > 4


def test_the_collector_is_off_while_timing_and_back_after() -> None:
    """Python collects no garbage during a call, and collects again when the trial is over."""
    seen: set[bool] = set()
    measure([lambda: seen.add(gc.isenabled())], CPU, FakeClock(lambda _: 0.1))
    assert seen == {False}
    assert gc.isenabled()


def test_a_call_that_raises_leaves_the_collector_on() -> None:
    """The error is the caller's; the process is as it was."""

    def fails() -> None:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        measure([fails], CPU, FakeClock(lambda _: 0.1))
    assert gc.isenabled()


def test_other_figures_keep_their_own_names() -> None:
    """The cold-cache and host-side figures stand beside the latency, never in its place."""
    clock = FakeClock(lambda _: 0.010, cold_latency_ms=12.0, host_latency_ms=15.0)
    metrics = measure([nothing], GPU, clock).metrics()
    assert metrics["latency_ms"] == pytest.approx(10.0)
    assert metrics["cold_latency_ms"] == 12.0
    assert metrics["host_latency_ms"] == 15.0
