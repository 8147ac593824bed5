"""Median, interval and noise of repetitions, in one process or over several: pure functions.

Repetitions of one process follow one another in time: they may be correlated, drift, come in two modes or have
heavy tails. The interval of the median is therefore made of order statistics (any distribution), with ranks as far
apart as the long-run variance of the signs about the median asks (any correlation): Gastwirth & Rubin 1971.
Fresh processes are what differs most (Kalibera & Jones 2013), so rounds are resampled as wholes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

NORMAL_95 = 1.959964
STUDENT_95 = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706)  # two-sided 95 % points for 1 to 5 degrees of freedom
FEWEST_FOR_RANKS = 6  # fewer values have no two order statistics that hold the median 95 times in 100
FEWEST_FOR_CORRELATION = 4
RESAMPLES = 2000


@dataclass(frozen=True)
class Summary:
    """What a series of repetitions says, in the unit of the values.

    Attributes:
        median: of one series; of the rounds' medians where there are several.
        ci_low, ci_high: 95 % interval of the median; None where there is one repetition only.
        noise_pct: interquartile range in percent of the median.
        count: repetitions in all.
        rounds: fresh processes.
        round_spread: relative standard deviation of the rounds' medians; None with one round.
    """

    median: float
    ci_low: float | None
    ci_high: float | None
    noise_pct: float
    count: int
    rounds: int = 1
    round_spread: float | None = None

    @property
    def half_width(self) -> float:
        """How far the interval reaches from the median, as a fraction of it; infinite without an interval."""
        if self.ci_low is None or self.ci_high is None or self.median <= 0:
            return math.inf
        return max(self.ci_high - self.median, self.median - self.ci_low) / self.median


def summarize(values: Sequence[float]) -> Summary:
    """Median, 95 % interval and noise of one process's repetitions, in their order in time.

    Raises:
        ValueError: there are no values.
    """
    if len(values) == 0:
        raise ValueError("no repetitions to summarize: at least one is needed")
    series = np.asarray(values, dtype=np.float64)
    low, high = interval(series)
    return Summary(float(np.median(series)), low, high, _noise_pct(series), len(series))


def interval(series: Array) -> tuple[float | None, float | None]:
    """95 % interval of the median of a stationary, possibly correlated series; (None, None) for a single value."""
    count = len(series)
    if count < 2:
        return None, None
    effective = count / correlation_time(series)
    if effective < FEWEST_FOR_RANKS:
        return _student_interval(series, effective)
    ordered = np.sort(series)
    reach = NORMAL_95 / 2 / math.sqrt(effective)
    first = max(math.floor(count * (0.5 - reach)), 0)
    return float(ordered[first]), float(ordered[count - 1 - first])


def _student_interval(series: Array, effective: float) -> tuple[float, float]:
    """Student's t about the median, for fewer independent values than order statistics need."""
    degrees = max(int(min(effective, len(series))) - 1, 1)
    reach = STUDENT_95[degrees - 1] * float(series.std(ddof=1)) / math.sqrt(max(effective, 1.0))
    middle = float(np.median(series))
    return max(middle - reach, 0.0), middle + reach


def correlation_time(series: Array) -> float:
    """How many repetitions are worth one independent one, as far as the median goes; at least 1, at most all.

    The larger of two estimates: one that knows no model and needs many values, one that takes the series for a
    first-order autoregression and serves few.
    """
    count = len(series)
    if count < FEWEST_FOR_CORRELATION or series.min() == series.max():
        return 1.0
    return min(max(_sign_correlation_time(series), _autoregressive_time(series), 1.0), float(count))


def _sign_correlation_time(series: Array) -> float:
    """Integrated autocorrelation of the signs about the median, summed up to five times itself (Sokal 1997)."""
    count = len(series)
    signs = np.sign(series - np.median(series))
    signs -= signs.mean()
    power = float(signs @ signs)
    if power == 0.0:
        return 1.0
    spectrum = np.abs(np.fft.rfft(signs, 2 * count)) ** 2
    rho = np.fft.irfft(spectrum)[1 : count // 2 + 1] / power
    times = 1 + 2 * np.cumsum(rho + (1 + 3 * rho) / count)
    enough = np.nonzero(np.arange(1, len(times) + 1) >= 5 * times)[0]
    return float(times[enough[0]] if len(enough) else times.max())


def _autoregressive_time(series: Array) -> float:
    """The same for a Gaussian autoregression with the series' lag-1 rank correlation.

    That correlation is corrected for Kendall's bias and raised by half its standard error: the rule that stops at a
    tight interval picks the moments at which it is underestimated.
    """
    count = len(series)
    ranks = np.argsort(np.argsort(series, kind="stable"), kind="stable") - (count - 1) / 2
    rho = float(ranks[:-1] @ ranks[1:]) / float(ranks @ ranks)
    rho += (1 + 3 * max(rho, 0.0)) / count + math.sqrt((1 - rho * rho) / count) / 2
    lags = np.arange(1, min(count, 400))
    signs = np.arcsin(np.clip(rho, 0.0, 0.99) ** lags) * 2 / np.pi
    return 1 + 2 * float(np.sum((1 - lags / count) * signs))


def pool(rounds: Sequence[Sequence[float]], seed: int = 0) -> Summary:
    """Median and 95 % interval over fresh processes: a hierarchical bootstrap, rounds first, repetitions within them.

    The median is that of the rounds' medians, so that a round with more repetitions weighs no more.
    """
    if len(rounds) == 1:
        return summarize(rounds[0])
    series = [np.asarray(values, dtype=np.float64) for values in rounds]
    medians = np.array([np.median(values) for values in series])
    median = float(np.median(medians))
    low, high = _widened(median, resampled_medians(series, np.random.default_rng(seed)), len(rounds))
    return Summary(
        median=median,
        ci_low=max(low, 0.0),
        ci_high=high,
        noise_pct=max(_noise_pct(values) for values in series),
        count=sum(len(values) for values in series),
        rounds=len(rounds),
        round_spread=round_spread(rounds),
    )


def round_spread(rounds: Sequence[Sequence[float]]) -> float | None:
    """Relative standard deviation of the rounds' medians: the A/A noise floor; None with one round."""
    if len(rounds) < 2:
        return None
    medians = np.array([np.median(values) for values in rounds])
    middle = float(np.median(medians))
    return float(medians.std(ddof=1)) / middle if middle > 0 else None


def resampled_medians(
    series: Sequence[Array], rng: np.random.Generator, size: int = RESAMPLES, centre: Callable[..., Any] = np.median
) -> Array:
    """(size,) centres of resampled rounds, each by the median of resampled repetitions.

    The median of a resample of n values is their quantile at a Beta((n + 1) / 2, (n + 1) / 2) level, so it is drawn
    directly, with n the count of independent values: a block bootstrap's spread without its cost.
    """
    picks = rng.integers(len(series), size=(size, len(series)))
    chosen = np.empty(picks.shape)
    for which, values in enumerate(series):
        mask = picks == which
        chosen[mask] = _median_draws(values, rng, int(np.count_nonzero(mask)))
    return np.asarray(centre(chosen, axis=1), dtype=np.float64)


def _median_draws(values: Array, rng: np.random.Generator, size: int) -> Array:
    half = (len(values) / correlation_time(values) + 1) / 2
    levels = np.linspace(0, 1, len(values))
    return np.asarray(np.interp(rng.beta(half, half, size), levels, np.sort(values)), dtype=np.float64)


def _widened(centre: float, draws: Array, rounds: int) -> tuple[float, float]:
    """Percentiles of the draws, as far from the centre as so few rounds demand.

    A bootstrap of R rounds has (R - 1) / R of their variance and knows it with R - 1 degrees of freedom.
    """
    from scipy.special import stdtrit

    factor = float(stdtrit(rounds - 1, 0.975)) / NORMAL_95 * math.sqrt(rounds / (rounds - 1))
    low, high = np.quantile(draws, (0.025, 0.975))
    return centre - factor * max(centre - low, 0.0), centre + factor * max(high - centre, 0.0)


def _noise_pct(series: Array) -> float:
    middle = float(np.median(series))
    low, high = np.quantile(series, (0.25, 0.75))
    return 100 * float(high - low) / middle if middle > 0 else 0.0
