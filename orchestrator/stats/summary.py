"""Computes median, interval and noise of repetitions, within a process or over several. Pure.

Repetitions of one process follow one another in time: they may be correlated, drift, come in two
modes or have heavy tails. The interval of the median is therefore made of order statistics, which
assume no distribution. Their ranks are as far apart as the long-run variance of the signs about the
median requires, which allows for correlation: Gastwirth & Rubin 1971.
Fresh processes differ most (Kalibera & Jones 2013), so several rounds are judged by the spread of
their medians. Few values are judged on the logarithm: a time cannot be 0 or less.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

NORMAL_95 = 1.959964
FEWEST_FOR_RANKS = 6  # fewer have no two order statistics that hold the median 95 times in 100
FEWEST_FOR_CORRELATION = 4
RESAMPLES = 2000
# Student's t holds for a mean. A median of R normal values needs an interval wider by this factor,
# here for R = 2 to 12 (four million samples each); 1.2533 is its limit for many.
MEDIAN_WIDENING = (1.0, 1.027, 1.028, 1.089, 1.073, 1.131, 1.104, 1.156, 1.128, 1.173, 1.145)
MEDIAN_WIDENING_LIMIT = 1.2533
WIDEST = math.log(10)  # an interval that reaches further than a factor of ten says nothing
# The rule that stops at a tight interval picks the moments at which the correlation is
# underestimated, and few values hardly show it: it is taken for higher by so many standard errors.
CAUTION = 2.0


@dataclass(frozen=True)
class Summary:
    """Summary of a series of repetitions, in the unit of its values.

    Attributes:
        median: of one series; of the rounds' medians where there are several.
        ci_low, ci_high: 95 % interval of the median; None where there is one repetition only, or
            so few that the interval would reach over a factor of a hundred.
        noise_pct: interquartile range in percent of the median.
        count: repetitions in all.
        rounds: fresh processes.
        round_spread: relative standard deviation of the rounds' medians; None with one round.
        independent: how many independent repetitions those of one process are worth at least.
    """

    median: float
    ci_low: float | None
    ci_high: float | None
    noise_pct: float
    count: int
    rounds: int = 1
    round_spread: float | None = None
    independent: float = 0.0

    @property
    def half_width(self) -> float:
        """The interval's reach as a fraction of the median; infinite without an interval."""
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
    return Summary(
        median=float(np.median(series)),
        ci_low=low,
        ci_high=high,
        noise_pct=_noise_pct(series),
        count=len(series),
        independent=len(series) / correlation_time(series, CAUTION),
    )


def interval(series: Array) -> tuple[float | None, float | None]:
    """95 % interval of the median of a stationary, possibly correlated series.

    (None, None) for a single value, and if few values give no useful interval.
    """
    count = len(series)
    if count < 2:
        return None, None
    effective = count / correlation_time(series, CAUTION)
    if effective < FEWEST_FOR_RANKS:
        return _student_interval(series, effective)
    ordered = np.sort(series)
    reach = NORMAL_95 / 2 / math.sqrt(effective)
    first = max(math.floor(count * (0.5 - reach)), 0)
    return float(ordered[first]), float(ordered[count - 1 - first])


def _student_interval(series: Array, effective: float) -> tuple[float | None, float | None]:
    """Student's t about the median's logarithm, for fewer values than order statistics need."""
    if series.min() <= 0:
        return None, None
    degrees = max(int(effective) - 1, 1)
    error = float(np.log(series).std(ddof=1)) / math.sqrt(max(effective, 1.0))
    return _around(float(np.median(series)), student_95(degrees) * error)


def _around(centre: float, reach: float) -> tuple[float | None, float | None]:
    """The interval `reach` to either side on the logarithm; none beyond WIDEST."""
    if reach > WIDEST:
        return None, None
    return centre * math.exp(-reach), centre * math.exp(reach)


def student_95(degrees: float) -> float:
    """The two-sided 95 % point of Student's t."""
    from scipy.special import stdtrit  # a slow import, which `plan` and `list` do without

    return float(stdtrit(degrees, 0.975))


def correlation_time(series: Array, caution: float = 0.5) -> float:
    """How many repetitions weigh as much as one independent one, for the median.

    The larger of two estimates. One assumes no model and needs many values; the other assumes a
    first-order autoregression, and serves for few.

    Args:
        series: repetitions in their order in time.
        caution: how many standard errors are added to the lag-1 correlation that was observed.

    Returns:
        At least 1, at most all of them.
    """
    count = len(series)
    if count < FEWEST_FOR_CORRELATION or series.min() == series.max():
        return 1.0
    longer = max(_sign_correlation_time(series), _autoregressive_time(series, caution))
    return min(max(longer, 1.0), float(count))


def _sign_correlation_time(series: Array) -> float:
    """Integrated autocorrelation time of the signs about the median.

    Summed up to a window of five times itself (Sokal 1997).
    """
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
    if not len(enough):  # too short a series for its correlation
        return float(times.max())
    return float(times[enough[0]])


def _autoregressive_time(series: Array, caution: float) -> float:
    """The same time for a Gaussian autoregression with the series' lag-1 rank correlation.

    The correlation is corrected for Kendall's bias and raised by `caution` standard errors.
    """
    count = len(series)
    ranks = np.argsort(np.argsort(series, kind="stable"), kind="stable") - (count - 1) / 2
    rho = float(ranks[:-1] @ ranks[1:]) / float(ranks @ ranks)
    rho += (1 + 3 * max(rho, 0.0)) / count + caution * math.sqrt(max(1 - rho * rho, 0.0) / count)
    lags = np.arange(1, min(count, 400))
    signs = np.arcsin(np.clip(rho, 0.0, 0.99) ** lags) * 2 / np.pi
    return 1 + 2 * float(np.sum((1 - lags / count) * signs))


def pool(rounds: Sequence[Sequence[float]]) -> Summary:
    """Median and 95 % interval over fresh processes.

    The median is that of the rounds' medians, so that every round weighs the same. Its interval
    follows from the spread of these medians alone, which contains what differs within a process
    and between processes: Student's t on the logarithm, widened for a median.
    """
    if len(rounds) == 1:
        return summarize(rounds[0])
    series = [np.asarray(values, dtype=np.float64) for values in rounds]
    medians = np.array([np.median(values) for values in series])
    low, high = _interval_of_rounds(medians)
    return Summary(
        median=float(np.median(medians)),
        ci_low=low,
        ci_high=high,
        noise_pct=max(_noise_pct(values) for values in series),
        count=sum(len(values) for values in series),
        rounds=len(rounds),
        round_spread=round_spread(rounds),
    )


def _interval_of_rounds(medians: Array) -> tuple[float | None, float | None]:
    if medians.min() <= 0:
        return None, None
    count = len(medians)
    widening = MEDIAN_WIDENING_LIMIT
    if count - 2 < len(MEDIAN_WIDENING):
        widening = MEDIAN_WIDENING[count - 2]
    error = float(np.log(medians).std(ddof=1)) / math.sqrt(count)
    return _around(float(np.median(medians)), widening * student_95(count - 1) * error)


def round_spread(rounds: Sequence[Sequence[float]]) -> float | None:
    """Relative standard deviation of the rounds' medians (A/A noise floor); None of one round."""
    if len(rounds) < 2:
        return None
    medians = np.array([np.median(values) for values in rounds])
    middle = float(np.median(medians))
    if middle <= 0:
        return None
    return float(medians.std(ddof=1)) / middle


def resampled_medians(series: Array, rng: np.random.Generator, size: int = RESAMPLES) -> Array:
    """(size,) medians of resampled repetitions of one process.

    The median of a resample of n values is their quantile at a Beta((n + 1) / 2, (n + 1) / 2)
    distributed level. It is drawn directly, with n the number of independent values: this gives a
    block bootstrap's spread without its cost.
    """
    half = (len(series) / correlation_time(series) + 1) / 2
    levels = np.linspace(0, 1, len(series))
    drawn = np.interp(rng.beta(half, half, size), levels, np.sort(series))
    return np.asarray(drawn, dtype=np.float64)


def _noise_pct(series: Array) -> float:
    middle = float(np.median(series))
    low, high = np.quantile(series, (0.25, 0.75))
    if middle <= 0:
        return 0.0
    return 100 * float(high - low) / middle
