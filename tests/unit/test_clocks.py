"""The CPU's clock and the fake one; CUDA's is tested in tests/gpu."""

from __future__ import annotations

import time

import pytest

from orchestrator.clocks import CpuClock, FakeClock


def test_the_cpu_clock_times_the_block_as_one() -> None:
    """Three sleeps of 2 ms last at least 6 ms and not much more than that."""
    seconds = CpuClock().time([lambda: time.sleep(0.002)] * 3)
    assert 0.006 <= seconds < 0.1


def test_what_runs_before_a_call_is_not_timed() -> None:
    """A preparation of 20 ms leaves no trace in the time of a call."""
    seconds = CpuClock().time([lambda: None] * 2, before=lambda: time.sleep(0.02))
    assert seconds < 0.01


def test_the_cpu_clock_is_not_what_an_implementation_makes_of_time(monkeypatch: pytest.MonkeyPatch) -> None:
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
