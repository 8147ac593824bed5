"""Doubts: a noisy row says why, a quiet one is left alone."""

from __future__ import annotations

import math

import numpy as np
import pytest

from orchestrator.spec.models import MeasureProtocol, MeasureSpec
from orchestrator.stats.noise import drift, noise_reasons, percent, two_modes
from orchestrator.stats.summary import Array, summarize

PROTOCOL = MeasureSpec().for_device("cuda")
CPU = MeasureSpec().for_device("cpu")


def reasons(series: Array, protocol: MeasureProtocol = PROTOCOL) -> str:
    """The doubts about a series under a protocol, in one line."""
    return "; ".join(noise_reasons(list(series), summarize(list(series)), protocol))


def test_a_quiet_series_raises_no_doubt() -> None:
    """A spread of 0.3 % over 400 repetitions is what a good row looks like."""
    assert reasons(1 + 0.003 * np.random.default_rng(0).standard_normal(400)) == ""


def test_a_wide_interval_is_named_with_the_width_reached() -> None:
    """Thirty repetitions at 5 % leave the interval wider than half a percent."""
    assert "target_ci is 0.5 %" in reasons(1 + 0.05 * np.random.default_rng(0).standard_normal(30))


def test_a_single_repetition_has_no_width_to_name() -> None:
    """One value has no interval: that is a doubt, not a certainty."""
    assert "target_ci" in reasons(np.array([1.0]))


def test_a_wide_spread_is_a_doubt_even_when_the_median_is_well_known() -> None:
    """Four thousand repetitions at 3 % have a tight median and a wide quartile range."""
    found = reasons(1 + 0.03 * np.random.default_rng(0).standard_normal(4000))
    assert "interquartile range" in found
    assert "target_ci" not in found


@pytest.mark.parametrize("way", [0.03, -0.03])
def test_drift_is_found_in_either_direction(way: float) -> None:
    """A series that moves by 3 % from start to end is flagged, with its sign."""
    series = 1 + way * np.arange(300) / 300 + 0.002 * np.random.default_rng(0).standard_normal(300)
    assert drift(series) == pytest.approx(way * 2 / 3, rel=0.1)
    assert "drift" in reasons(series)


def test_noise_alone_is_no_drift() -> None:
    """White noise of 2 % passes for drift in fewer than 3 of 100 series."""
    rng = np.random.default_rng(1)
    assert sum(drift(1 + 0.02 * rng.standard_normal(60)) != 0 for _ in range(100)) < 3


def test_two_modes_are_found_with_their_places() -> None:
    """Three in ten repetitions at 1.03 instead of 1.00 are a second mode."""
    rng = np.random.default_rng(0)
    series = np.where(rng.random(200) < 0.7, 1.0, 1.03) + 0.003 * rng.standard_normal(200)
    modes = two_modes(series)
    assert modes is not None
    assert modes == pytest.approx((1.0, 1.03), abs=0.002)
    assert "two modes" in reasons(series)


@pytest.mark.parametrize("kind", ["normal", "uniform", "exponential"])
def test_one_mode_is_not_split_in_two(kind: str) -> None:
    """Series with one mode, skewed ones included, are seldom taken for two."""
    rng = np.random.default_rng(2)
    table = {"normal": rng.normal(size=(100, 100)), "uniform": rng.uniform(size=(100, 100))}
    table["exponential"] = rng.exponential(size=(100, 100))
    assert sum(two_modes(2 + 0.05 * series) is not None for series in table[kind]) <= 3


def test_modes_closer_than_a_percent_do_not_matter() -> None:
    """Clock ticks half a percent apart are no doubt."""
    assert two_modes(np.array([1.0, 1.005] * 50)) is None


@pytest.mark.parametrize(
    ("spread", "device", "noisy"),
    [(0.01, "cuda", False), (0.02, "cuda", True), (0.05, "cpu", False), (0.12, "cpu", True)],
)
def test_the_limits_follow_the_device_s_target(spread: float, device: str, noisy: bool) -> None:
    """Quartiles 2.7 % apart are noise on a GPU, and what a quiet CPU looks like; 16 % are noise
    there too.
    """
    series = 1 + spread * np.random.default_rng(3).standard_normal(4000)
    assert ("interquartile range" in reasons(series, MeasureSpec().for_device(device))) is noisy


def test_a_cpu_s_drift_and_modes_are_measured_by_its_own_target() -> None:
    """A change of 4 % is a doubt on a GPU and none on a CPU; one of 10 % is a doubt on both."""
    rng = np.random.default_rng(4)
    for change, doubtful in ((0.04, False), (0.10, True)):
        drifting = 1 + change * (np.arange(300) >= 150) + 0.002 * rng.standard_normal(300)
        modes = np.where(rng.random(300) < 0.7, 1.0, 1 + change) + 0.003 * rng.standard_normal(300)
        assert ("drift" in reasons(drifting, CPU)) is doubtful
        assert ("two modes" in reasons(modes, CPU)) is doubtful
        assert "drift" in reasons(drifting)
        assert "two modes" in reasons(modes)


@pytest.mark.parametrize("target", [0.0001, 0.9])
def test_a_target_of_one_s_own_moves_no_limit_beyond_reason(target: float) -> None:
    """Whoever wants a narrower interval may repeat more; whoever accepts any still hears of
    quartiles 27 % apart.
    """
    protocol = PROTOCOL.model_copy(update={"target_ci": target})
    rng = np.random.default_rng(5)
    assert "interquartile" not in reasons(1 + 0.01 * rng.standard_normal(4000), protocol)
    assert "interquartile" in reasons(1 + 0.2 * rng.standard_normal(4000), protocol)


def test_percentages_beyond_a_hundred_are_written_out() -> None:
    """`5e+02 %` is no figure for a person."""
    assert [percent(share) for share in (0.0385, 0.9, 5.04, math.inf)] == [
        "3.9 %",
        "90 %",
        "504 %",
        "?",
    ]
