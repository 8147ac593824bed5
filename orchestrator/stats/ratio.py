"""Computes the ratio of two rows, its interval and p-value; Holm's correction. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from orchestrator.stats.summary import Array, correlation_time, resampled_medians, student_95

LARGEST_REACH = 300.0  # of a logarithm: exp of more overflows a float
FEW = 12  # independent values of one process: of fewer a bootstrap underestimates the spread


@dataclass(frozen=True)
class Ratio:
    """Candidate over base: ratio of the medians, 95 % interval, two-sided p-value of "equal"."""

    value: float
    ci_low: float
    ci_high: float
    p_value: float


def ratio(
    base: Sequence[Sequence[float]], candidate: Sequence[Sequence[float]], seed: int = 0
) -> Ratio:
    """Ratio of two rows, each a sequence of rounds: above 1 the candidate is slower.

    It is the ratio of the geometric means of the rounds' medians, by Welch's test on their
    logarithms. A row of a single round has no spread between processes: its error is that of its
    own median, resampled, and the interval is of that process only.

    Raises:
        ValueError: a row is a single repetition.
    """
    rng = np.random.default_rng(seed)
    first = _level(base, rng)
    second = _level(candidate, rng)
    variance = first.variance + second.variance
    # Welch-Satterthwaite: the degrees of freedom of a sum of two estimated variances.
    weight = first.variance**2 / first.degrees + second.variance**2 / second.degrees
    degrees = variance**2 / weight if weight > 0 else math.inf
    return _from_log(second.log - first.log, math.sqrt(variance), degrees)


def block_ratios(first: Sequence[float], second: Sequence[float]) -> Array:
    """Second over first of interleaved repetitions, block by block.

    Repetitions 2k and 2k + 1 of each series belong to block k.
    """
    blocks = min(len(first), len(second)) // 2
    first_sums = np.asarray(first, dtype=np.float64)[: 2 * blocks].reshape(blocks, 2).sum(1)
    second_sums = np.asarray(second, dtype=np.float64)[: 2 * blocks].reshape(blocks, 2).sum(1)
    return np.asarray(second_sums / first_sums, dtype=np.float64)


def paired_ratio(
    rounds: Sequence[tuple[Sequence[float], Sequence[float]]], seed: int = 0
) -> tuple[Ratio, float | None]:
    """Ratio of two interleaved series, second over first, and its spread between rounds.

    A round's ratio is the median of its blocks' ratios. The interval is Student's t of the rounds'
    logarithms, whose spread holds what differs within a process and between processes; a single
    round has no spread (None), and its interval is of that process only.

    Raises:
        ValueError: there is a single block.
    """
    series = [np.log(block_ratios(first, second)) for first, second in rounds]
    if len(series) == 1:
        alone = _one_process(series[0], np.random.default_rng(seed))
        return _from_log(alone.log, math.sqrt(alone.variance), alone.degrees), None
    level = _of_rounds(series)
    spread = math.sqrt(level.variance * len(series))
    return _from_log(level.log, math.sqrt(level.variance), level.degrees), spread


def ratio_by_rounds(
    base: Sequence[Sequence[float]], candidate: Sequence[Sequence[float]]
) -> tuple[Ratio, float]:
    """Ratio of two rows whose rounds were measured alternately, and its spread between rounds.

    It compares the medians within each pair of rounds, so that what changes more slowly than a
    round cancels: Student's t of the logarithms of their ratios.

    Both rows have the same number of rounds, at least two, in the order of measurement.
    """
    changes = _log_medians(candidate) - _log_medians(base)
    spread = float(changes.std(ddof=1))
    error = spread / math.sqrt(len(changes))
    return _from_log(float(changes.mean()), error, len(changes) - 1), spread


def _log_medians(rounds: Sequence[Sequence[float]]) -> Array:
    """(rounds,) the median of each round's logarithms."""
    medians = [np.median(np.log(np.asarray(values, dtype=np.float64))) for values in rounds]
    return np.array(medians, dtype=np.float64)


class _Level(NamedTuple):
    """The logarithm of a row's latency, its squared standard error and degrees of freedom."""

    log: float
    variance: float
    degrees: float


def _level(rounds: Sequence[Sequence[float]], rng: np.random.Generator) -> _Level:
    series = [np.log(np.asarray(values, dtype=np.float64)) for values in rounds]
    if len(series) == 1:
        return _one_process(series[0], rng)
    return _of_rounds(series)


def _of_rounds(series: Sequence[Array]) -> _Level:
    """The mean of the rounds' medians, all of logarithms."""
    medians = np.array([np.median(values) for values in series])
    variance = float(medians.var(ddof=1)) / len(medians)
    return _Level(float(medians.mean()), variance, len(medians) - 1)


def _one_process(logs: Array, rng: np.random.Generator) -> _Level:
    """The level of a single round: its median's variance by resampling; Student's, of few values.

    Raises:
        ValueError: there is a single value, which has no error estimate.
    """
    centre, count = float(np.median(logs)), len(logs)
    if count < 2:
        raise ValueError("one repetition of one process has no interval: at least two are needed")
    independent = max(count / correlation_time(logs), 1.0)
    if independent >= FEW:
        return _Level(centre, float(resampled_medians(logs, rng).var()), math.inf)
    return _Level(centre, float(logs.var(ddof=1)) / independent, max(independent - 1, 1.0))


def _from_log(centre: float, error: float, degrees: float) -> Ratio:
    """The ratio of a difference of logarithms, its standard error and degrees of freedom."""
    from scipy.special import stdtr  # a slow import, which `plan` and `list` do without

    degrees = min(degrees, 1e6)
    reach = min(student_95(degrees) * error, LARGEST_REACH)
    if error > 0:
        p_value = 2 * float(stdtr(degrees, -abs(centre) / error))
    else:  # values without any spread: equal, or certainly not
        p_value = float(centre == 0)
    return Ratio(math.exp(centre), math.exp(centre - reach), math.exp(centre + reach), p_value)


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Holm's step-down adjustment (1979), in the order given; compare each result with 0.05."""
    count = len(p_values)
    adjusted = [0.0] * count
    highest = 0.0
    smallest_first = sorted(range(count), key=lambda index: p_values[index])
    for rank, index in enumerate(smallest_first):
        highest = max(highest, min((count - rank) * p_values[index], 1.0))
        adjusted[index] = highest
    return tuple(adjusted)


def geometric_mean(values: Sequence[float]) -> float:
    """The geometric mean of positive values; 1 of none."""
    if not values:
        return 1.0
    return math.exp(sum(math.log(value) for value in values) / len(values))
