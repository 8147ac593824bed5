"""The statistics: intervals that hold what they claim, on data whose truth is known."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.stats.summary import Array, correlation_time, interval, pool, summarize

Draw = Callable[[np.random.Generator, int], Array]
milliseconds = st.floats(min_value=1e-6, max_value=1e6)
series_of_ms = st.lists(milliseconds, min_size=1, max_size=80)


def autoregressive(rng: np.random.Generator, count: int, phi: float) -> Array:
    """A Gaussian series of unit variance whose neighbours correlate by phi."""
    series = rng.standard_normal(count)
    for i in range(1, count):
        series[i] = phi * series[i - 1] + math.sqrt(1 - phi * phi) * series[i]
    return series


def two_speeds(rng: np.random.Generator, count: int) -> Array:
    """Six in ten at 1.00, the others at 1.05; the median lies in the upper part of the lower mode."""
    return np.where(rng.random(count) < 0.6, 1.0, 1.05) + 0.002 * rng.standard_normal(count)


KINDS: dict[str, tuple[Draw, float, float]] = {
    "independent": (lambda rng, n: 1 + 0.01 * rng.standard_normal(n), 1.0, 0.92),
    "correlated": (lambda rng, n: 1 + 0.01 * autoregressive(rng, n, 0.5), 1.0, 0.92),
    "strongly correlated": (lambda rng, n: 1 + 0.01 * autoregressive(rng, n, 0.8), 1.0, 0.88),
    "heavy tails": (lambda rng, n: 1 + 0.005 * np.abs(rng.standard_cauchy(n)), 1.005, 0.92),
    "two modes": (two_speeds, 1.00193, 0.92),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [60, 240])
def test_the_interval_covers_the_true_median_as_often_as_it_says(kind: str, count: int) -> None:
    """Of 200 series of a kind, the 95 % interval holds the true median in about 95 of 100."""
    draw, truth, least = KINDS[kind]
    rng = np.random.default_rng(7)
    found = [interval(draw(rng, count)) for _ in range(200)]
    hits = sum(low is not None and high is not None and low <= truth <= high for low, high in found)
    assert hits / len(found) >= least


def test_the_interval_narrows_with_the_root_of_the_count() -> None:
    """A hundred times the repetitions give an interval about a tenth as wide: it is not merely wide
    enough.
    """
    rng = np.random.default_rng(3)
    few, many = (
        summarize(list(1 + 0.01 * rng.standard_normal(count))).half_width for count in (40, 4000)
    )
    assert 5 < few / many < 20


def test_drift_widens_the_interval() -> None:
    """A series that moves from 1.00 to 1.02 has no interval narrower than a part of that way."""
    drifting = (
        1 + 0.02 * np.arange(200) / 200 + 0.0005 * np.random.default_rng(0).standard_normal(200)
    )
    assert summarize(list(drifting)).half_width > 0.003


def test_correlated_series_count_for_less() -> None:
    """The correlation time of an autoregression is near the theory's; that of white noise is near
    1.
    """
    rng = np.random.default_rng(5)
    theory = 1 + 2 * sum(math.asin(0.8**lag) * 2 / math.pi for lag in range(1, 200))
    measured = np.median([correlation_time(autoregressive(rng, 2000, 0.8)) for _ in range(20)])
    assert measured == pytest.approx(theory, rel=0.25)
    assert np.median([correlation_time(rng.standard_normal(2000)) for _ in range(20)]) < 1.3


@given(series_of_ms)
def test_the_median_lies_within_its_interval(values: list[float]) -> None:
    """Whatever the values, the interval holds the median and never reaches down to 0."""
    summary = summarize(values)
    if summary.ci_low is None or summary.ci_high is None:
        assert len(values) < 30 or max(values) > 10 * min(values)
        assert math.isinf(summary.half_width)
        return
    assert summary.ci_low > 0
    assert summary.ci_low <= summary.median * (1 + 1e-12)
    assert summary.median <= summary.ci_high * (1 + 1e-12)
    assert math.isfinite(summary.ci_high)


@given(series_of_ms, st.sampled_from([0.5, 4.0, 1024.0]))
def test_the_unit_does_not_matter(values: list[float], unit: float) -> None:
    """Values in another unit give the same summary in that unit."""
    here, there = summarize(values), summarize([unit * value for value in values])
    assert there.median == pytest.approx(unit * here.median)
    assert there.noise_pct == pytest.approx(here.noise_pct, abs=1e-6)
    if here.ci_low is not None:
        assert there.ci_low == pytest.approx(unit * here.ci_low)


def test_equal_values_have_an_interval_of_no_width() -> None:
    """Thirty equal repetitions leave no doubt."""
    summary = summarize([2.5] * 30)
    assert (summary.ci_low, summary.ci_high, summary.noise_pct) == (2.5, 2.5, 0.0)


def test_nothing_to_summarize_is_an_error() -> None:
    """An empty series is refused by name."""
    with pytest.raises(ValueError, match="at least one"):
        summarize([])


def test_few_repetitions_have_an_interval_above_0_or_none() -> None:
    """A time cannot be 0: three wild values are given no interval that says so, or none at all."""
    low = summarize([60.0, 68.0, 95.0]).ci_low
    assert low is not None
    assert 0 < low < 60
    assert summarize([1.0, 68.0]).ci_low is None


def rounds_of(rng: np.random.Generator, rounds: int, between: float, within: float) -> list[Array]:
    """Fresh processes of 30 repetitions around 1 ms, each with its own level."""
    levels = np.exp(between * rng.standard_normal(rounds))
    return [level * np.exp(within * rng.standard_normal(30)) for level in levels]


# Between processes and within one, as benchmarks/stability.py saw them: a GPU's one kernel, its
# several launches, an idle CPU, a CPU that others use.
SPREADS = [(0.0005, 0.001), (0.01, 0.005), (0.02, 0.03), (0.10, 0.10)]


@pytest.mark.slow
@pytest.mark.parametrize(("between", "within"), SPREADS)
@pytest.mark.parametrize("rounds", [2, 3, 5, 10])
def test_pooled_rounds_cover_the_truth(rounds: int, between: float, within: float) -> None:
    """The pooled interval holds the truth 93 to 97 times in 100, of 1,200 rows."""
    rng = np.random.default_rng(11)
    hits = 0
    for _ in range(1200):
        summary = pool(rounds_of(rng, rounds, between, within))
        if summary.ci_low is None or summary.ci_high is None:
            hits += 1  # no interval: two rounds that are a factor apart
        else:
            hits += summary.ci_low <= 1 <= summary.ci_high
    assert 0.93 <= hits / 1200 <= 0.97


def test_one_process_does_not_know_what_differs_between_processes() -> None:
    """Where levels differ by 1 %, the interval of one process mostly misses the truth."""
    rng = np.random.default_rng(11)
    rows = [summarize(rounds_of(rng, 1, 0.01, 0.005)[0].tolist()) for _ in range(100)]
    hits = sum((row.ci_low or 0.0) <= 1 <= (row.ci_high or 0.0) for row in rows)
    assert hits < 60


def test_a_long_round_weighs_no_more_than_a_short_one() -> None:
    """The pooled median is that of the rounds' medians."""
    assert pool([[1.0] * 1000, [2.0] * 10, [3.0] * 10]).median == 2.0


def test_one_round_is_summarized_as_it_is() -> None:
    """Without fresh processes to compare, the pooled summary is that of the one there is."""
    values = [1.0, 1.1, 1.2, 1.05, 1.15, 1.02]
    assert pool([values]) == summarize(values)
    assert pool([values]).round_spread is None
