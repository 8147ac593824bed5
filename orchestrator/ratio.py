"""The ratio of two rows' medians, its interval and its p-value; Holm's correction for many rows. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.stats import resampled_medians


@dataclass(frozen=True)
class Ratio:
    """Candidate over base: the ratio of the medians, its 95 % interval, and the two-sided p-value of "equal"."""

    value: float
    ci_low: float
    ci_high: float
    p_value: float


def ratio(base: Sequence[Sequence[float]], candidate: Sequence[Sequence[float]], seed: int = 0) -> Ratio:
    """Ratio of two rows' medians; each row is a sequence of rounds. Above 1 the candidate is slower.

    The logarithms of resampled medians give the error, Welch's degrees of freedom its certainty. With a single round
    the spread between processes is unknown and the interval is that of these two processes only.
    """
    rng = np.random.default_rng(seed)
    centre, error, degrees = _log_difference(base, candidate, rng)
    return _from_log(centre, error, degrees)


def _log_difference(
    base: Sequence[Sequence[float]], candidate: Sequence[Sequence[float]], rng: np.random.Generator
) -> tuple[float, float, float]:
    centre, variances, weights = 0.0, [], []
    for rounds, sign in ((base, -1), (candidate, 1)):
        series = [np.log(np.asarray(values, dtype=np.float64)) for values in rounds]
        centre += sign * float(np.median([np.median(values) for values in series]))
        spare = len(series) - 1
        scale = len(series) / spare if spare else 1.0
        variances.append(float(resampled_medians(series, rng).var()) * scale)
        weights.append(spare or math.inf)
    total = sum(variances)
    welch = sum(variance**2 / weight for variance, weight in zip(variances, weights, strict=True))
    return centre, math.sqrt(total), total**2 / welch if welch > 0 else math.inf


def _from_log(centre: float, error: float, degrees: float) -> Ratio:
    from scipy.special import stdtr, stdtrit

    degrees = min(degrees, 1e6)
    reach = float(stdtrit(degrees, 0.975)) * error
    p_value = 2 * float(stdtr(degrees, -abs(centre) / error)) if error > 0 else float(centre == 0)
    return Ratio(math.exp(centre), math.exp(centre - reach), math.exp(centre + reach), p_value)


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Holm's step-down adjustment, in the order given: compare each with 0.05, however many there are."""
    count = len(p_values)
    adjusted = [0.0] * count
    highest = 0.0
    for rank, index in enumerate(sorted(range(count), key=lambda i: p_values[i])):
        highest = max(highest, min((count - rank) * p_values[index], 1.0))
        adjusted[index] = highest
    return tuple(adjusted)


def geometric_mean(values: Sequence[float]) -> float:
    """The geometric mean of positive values; 1 of none."""
    return math.exp(sum(math.log(value) for value in values) / len(values)) if values else 1.0
