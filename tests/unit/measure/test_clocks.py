"""The CPU's clock and the fake one, and what CUDA's makes of its figures; its timing is tested in
tests/gpu.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from orchestrator.measure import clocks
from orchestrator.measure.clocks import CpuClock, CudaClock, FakeClock

HostLatency = Callable[[Callable[[int], float]], tuple[float, list[str]]]


def test_the_cpu_clock_times_the_block_as_one() -> None:
    """Three sleeps of 2 ms last at least 6 ms and not much more than that."""
    seconds = CpuClock().time([lambda: time.sleep(0.002)] * 3)
    assert 0.006 <= seconds < 0.1


def test_what_runs_before_a_call_is_not_timed() -> None:
    """A preparation of 20 ms leaves no trace in the time of a call."""
    seconds = CpuClock().time([lambda: None] * 2, before=lambda: time.sleep(0.02))
    assert seconds < 0.01


def test_the_cpu_clock_is_not_what_an_implementation_makes_of_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A library that freezes time, or slows it down, for its own ends."""
    monkeypatch.setattr(time, "perf_counter", lambda: 5.0)
    clock = CpuClock()
    before = clock.now()
    assert clock.time([lambda: time.sleep(0.002)]) >= 0.002
    assert clock.now() - before >= 0.002


def test_the_cpu_clock_has_no_figures_but_the_latency() -> None:
    """There is no launch queue and no L2 to flush on a CPU."""
    assert CpuClock().extras([lambda: None], None, 0.1) == {}


def test_the_fake_clock_moves_by_what_its_calls_last() -> None:
    """Durations follow the number of the call; the calls are really made."""
    made: list[int] = []
    clock = FakeClock(lambda number: 0.5 + number)
    assert clock.time([lambda: made.append(1)] * 2) == pytest.approx(2.0)
    assert clock.now() == pytest.approx(2.0)
    assert len(made) == clock.calls == 2


@pytest.fixture
def host_latency(monkeypatch: pytest.MonkeyPatch) -> HostLatency:
    """CUDA's host-side figure and notes by a device that takes no time, where the host's n-th call
    lasts as given.
    """
    now = [0.0]
    event = SimpleNamespace(
        record=lambda: None, synchronize=lambda: None, elapsed_time=lambda _: 1.0
    )
    cuda = SimpleNamespace(Event=lambda **_: event, _sleep=lambda _: None, synchronize=lambda: None)
    monkeypatch.setitem(sys.modules, "torch", cast("Any", SimpleNamespace(cuda=cuda)))
    monkeypatch.setattr(clocks, "perf_counter", lambda: now[0])

    def measured(lasts_s: Callable[[int], float]) -> tuple[float, list[str]]:
        numbers = itertools.count()

        def call() -> None:
            now[0] += lasts_s(next(numbers))

        clock = CudaClock(cast("Any", None), cold=False)
        return clock.extras([call], None, 1.0)["host_latency_ms"], clock.notes

    return measured


def test_a_steady_figure_of_the_host_needs_no_words(host_latency: HostLatency) -> None:
    """The first calls, which are slow, are not in it."""
    latency_ms, notes = host_latency(lambda number: 0.01 if number < 8 else 0.001)
    assert latency_ms == pytest.approx(1.0)
    assert notes == []


def test_an_unsteady_figure_of_the_host_says_so(host_latency: HostLatency) -> None:
    """Every other stretch of 64 calls takes twice as long; the reader is told by how much."""
    _, notes = host_latency(lambda number: 0.001 if (number + 1) // 64 % 2 else 0.002)
    assert notes == ["host_latency_ms is unsteady: interquartile range 50 % of the median"]
