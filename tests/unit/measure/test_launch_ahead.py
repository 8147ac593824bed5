"""The head start of a host over its device, on devices that are sums of seconds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from orchestrator.measure.launch_ahead import MOST_S, LaunchAhead, Timed

Attempt = Callable[[Sequence[int], float], Timed]


@dataclass
class Device:
    """Runs a call in `run_s` behind the head start; the host launches one in `launch_s(number of
    the attempt)`.

    Where calls `wait` for the device, the host is never ahead of it, and its gaps are in the
    figures.
    """

    run_s: float
    launch_s: Callable[[int], float]
    wait: bool = False
    parts: list[int] = field(default_factory=list)
    spent_s: float = 0.0

    def attempt(self, part: Sequence[int], ahead_s: float) -> Timed:
        """As a CUDA clock would."""
        launch_s = self.launch_s(len(self.parts)) * len(part)
        run_s = self.run_s * len(part)
        self.parts.append(len(part))
        if self.wait:
            self.spent_s += ahead_s + launch_s + run_s
            return Timed(launch_s + run_s, ahead_s + launch_s + run_s, False)
        self.spent_s += max(ahead_s, launch_s) + run_s
        kept = launch_s < ahead_s
        return Timed(run_s if kept else max(run_s, launch_s), launch_s, kept)


def test_it_learns_what_launching_takes() -> None:
    """The block counts device time alone, and the next one needs no second try."""
    device = Device(20e-6, lambda _: 100e-6)
    start = LaunchAhead(200)
    assert start.time(range(100), device.attempt) == pytest.approx(100 * 20e-6)
    tries = len(device.parts)
    start.time(range(100), device.attempt)
    assert len(device.parts) == tries + 1
    assert not start.lost


def test_launching_that_takes_long_is_done_in_parts() -> None:
    """No head start is longer than the most; every call is timed once, without the host's gaps."""
    device = Device(1e-3, lambda _: 5e-3)
    start = LaunchAhead(200)
    assert start.time(range(200), device.attempt) == pytest.approx(200 * 1e-3)
    assert max(device.parts[-3:]) * 5e-3 < MOST_S
    assert not start.lost


def test_calls_that_wait_for_the_device_are_timed_with_their_gaps_and_soon() -> None:
    """No head start helps: 100 blocks of them take little more than they last."""
    device = Device(20e-6, lambda _: 100e-6, wait=True)
    start = LaunchAhead(200)
    blocks = [start.time(range(100), device.attempt) for _ in range(100)]
    assert start.lost
    assert blocks == pytest.approx([100 * 120e-6] * 100)
    assert device.spent_s < sum(blocks) + 1.0


@pytest.mark.parametrize("hiccup_s", [1e-3, 0.3])
def test_a_hiccup_of_the_host_is_not_taken_for_that(hiccup_s: float) -> None:
    """One call that launches late, such as one that compiles: timed again; later blocks do not wait
    long for it.
    """
    device = Device(20e-6, lambda attempt: hiccup_s if attempt == 3 else 10e-6)
    start = LaunchAhead(200)
    found = [start.time(range(50), device.attempt) for _ in range(40)]
    assert found == pytest.approx([50 * 20e-6] * 40)
    assert not start.lost
    assert device.spent_s < sum(found) + 50 * hiccup_s + 10 * MOST_S
