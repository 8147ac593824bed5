"""The ratio of two rows, its interval and its p-value; Holm's correction for many rows. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from orchestrator.stats.summary import Array, correlation_time, resampled_medians, student_95

LARGEST_REACH = 300.0  # of a logarithm: beyond it lies no number
FEW = 12  # independent values of one process; of fewer a bootstrap sees too little of the spread


@dataclass(frozen=True)
class Ratio:
    """Candidate over base: the ratio of the medians, its 95 % interval, and the two-sided p-value of "equal"."""

    value: float
    ci_low: float
    ci_high: float
    p_value: float


def ratio(base: Sequence[Sequence[float]], candidate: Sequence[Sequence[float]], seed: int = 0) -> Ratio:
    """Ratio of two rows, each a sequence of rounds: above 1 the candidate is slower.

    Of the geometric means of the rounds' medians, by Welch's test on their logarithms. A row of a single round has no
    spread between processes: its error is that of its own median, resampled, and the interval is of that process only.

    Raises:
        ValueError: a row is a single repetition.
    """
    rng = np.random.default_rng(seed)
    sides = [_level(rounds, rng) for rounds in (base, candidate)]
    variance = sum(side.variance for side in sides)
    doubt = sum(side.variance**2 / side.degrees for side in sides)
    return _from_log(sides[1].log - sides[0].log, math.sqrt(variance), variance**2 / doubt if doubt > 0 else math.inf)


def block_ratios(first: Sequence[float], second: Sequence[float]) -> Array:
    """Second over first of repetitions made in turns, block by block: 2k and 2k + 1 of either side are of one block."""
    one, other = (np.asarray(values, dtype=np.float64) for values in (first, second))
    blocks = min(len(one), len(other)) // 2
    sums = [values[: 2 * blocks].reshape(blocks, 2).sum(1) for values in (one, other)]
    return np.asarray(sums[1] / sums[0], dtype=np.float64)


def paired_ratio(
    rounds: Sequence[tuple[Sequence[float], Sequence[float]]], seed: int = 0
) -> tuple[Ratio, float | None]:
    """Ratio of two sides measured in turns, second over first, and its spread between rounds.

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


def ratio_by_rounds(base: Sequence[Sequence[float]], candidate: Sequence[Sequence[float]]) -> tuple[Ratio, float]:
    """Ratio of two rows whose rounds were measured in turns, and its spread between rounds.

    Of the medians within each round, so that what changes more slowly than a round cancels: by
    Student's t of their logarithms.

    Both have as many rounds, at least two, in the order in which they were measured.
    """
    medians = [
        np.array([np.median(np.log(np.asarray(values, dtype=np.float64))) for values in rounds])
        for rounds in (base, candidate)
    ]
    changes = medians[1] - medians[0]
    spread = float(changes.std(ddof=1))
    error = spread / math.sqrt(len(changes))
    return _from_log(float(changes.mean()), error, len(changes) - 1), spread


class _Level(NamedTuple):
    """The logarithm of a row's latency, its squared standard error, and the degrees of freedom behind that."""

    log: float
    variance: float
    degrees: float


def _level(rounds: Sequence[Sequence[float]], rng: np.random.Generator) -> _Level:
    series = [np.log(np.asarray(values, dtype=np.float64)) for values in rounds]
    return _one_process(series[0], rng) if len(series) == 1 else _of_rounds(series)


def _of_rounds(series: Sequence[Array]) -> _Level:
    """The mean of the rounds' medians; of logarithms."""
    medians = np.array([np.median(values) for values in series])
    variance = float(medians.var(ddof=1)) / len(medians)
    return _Level(float(medians.mean()), variance, len(medians) - 1)


def _one_process(logs: Array, rng: np.random.Generator) -> _Level:
    """A single round: the resampled variance of its median, or Student's where values are few.

    Raises:
        ValueError: there is one value, which says nothing of its own error.
    """
    centre, count = float(np.median(logs)), len(logs)
    if count < 2:
        raise ValueError("one repetition of one process has no interval: at least two are needed")
    independent = max(count / correlation_time(logs), 1.0)
    if independent >= FEW:
        return _Level(centre, float(resampled_medians(logs, rng).var()), math.inf)
    return _Level(centre, float(logs.var(ddof=1)) / independent, max(independent - 1, 1.0))


def _from_log(centre: float, error: float, degrees: float) -> Ratio:
    from scipy.special import stdtr

    degrees = min(degrees, 1e6)
    reach = min(student_95(degrees) * error, LARGEST_REACH)
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
