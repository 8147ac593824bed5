"""The seconds of each phase of an attempt."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.measure.phase_times import PhaseTimes


def clock(*moments: float) -> Iterator[float]:
    return iter(moments)


def test_a_phase_lasts_until_the_next_begins() -> None:
    """What comes before the first is the start, what comes after the answer the end."""
    moments = clock(10.0, 10.5, 12.0, 12.25, 13.0)
    times = PhaseTimes(now=lambda: next(moments))
    for phase in ("build", "measure", "done"):
        times.enter(phase)
    assert times.seconds() == {"start": 0.5, "build": 1.5, "measure": 0.25, "end": 0.75}


def test_a_phase_that_is_reached_twice_is_added_up() -> None:
    """Timing that is done again for want of memory counts with the first."""
    moments = clock(0.0, 1.0, 2.0, 4.0, 8.0)
    times = PhaseTimes(now=lambda: next(moments))
    for phase in ("warm_up", "measure", "warm_up"):
        times.enter(phase)
    assert times.seconds() == {"start": 1.0, "warm_up": 5.0, "measure": 2.0}


def test_an_attempt_that_dies_has_its_last_phase() -> None:
    """Nobody said `done`."""
    moments = clock(0.0, 1.0, 4.0)
    times = PhaseTimes(now=lambda: next(moments))
    times.enter("build")
    assert times.seconds() == {"start": 1.0, "build": 3.0}
