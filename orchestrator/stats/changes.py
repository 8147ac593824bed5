"""Where the level of a series changes: binary segmentation by a CUSUM test with permutations. Pure.

The statistic is the largest standardised difference of means over all places to cut; how often
chance alone makes one as large is found by permuting the series, which asks for no distribution
(J. Antoch and M. Huskova, Permutation tests in change point analysis, Statistics & Probability
Letters 53, 2001, pages 37-46). A series that has a change is cut there and both parts are looked at
in turn (L. Vostrikova, Detecting "disorder" in multidimensional random processes, Soviet
Mathematics Doklady 24, 1981, pages 55-59).

Neighbours that depend on each other break the assumption that permuting changes nothing. How often
it errs on repeats of the same code on real machines: benchmarks/changes.py, docs/LOG.md.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.stats.summary import Array

WANTED = 0.01
FEWEST = 3  # points on either side of a change: one outlier is no level
FIRST, LATER, MOST = 99, 400, 9_999  # permutations: tried first, added at a time, and at most
PER_ALPHA = 4  # permutations for a p-value of alpha, times alpha
LONGEST = 200  # of a longer series means of neighbours are permuted
SEED = 0


@dataclass(frozen=True)
class Change:
    """A change of level.

    Attributes:
        at: index of the first point on the new level.
        before, after: the levels: medians up to the change before or after it, or the end.
        p_value: of "no change".
    """

    at: int
    before: float
    after: float
    p_value: float

    @property
    def ratio(self) -> float:
        """The new level over the old."""
        return self.after / self.before


def significance(values: Sequence[float], series: int = 1) -> float:
    """The p-value of "no change at all" in a series of positive values; 1.0 for a short one.

    Args:
        values: in the order of time; they are compared by their logarithms.
        series: how many series are judged together: their p-values must be told apart from WANTED
            divided by their number.
    """
    logs = _logs(values)
    if len(logs) < 2 * FEWEST or np.ptp(logs) == 0:
        return 1.0
    return _p_value(logs, WANTED / series)


def threshold(p_values: Sequence[float], rate: float = WANTED) -> float:
    """The largest p-value to believe so that of those believed at most `rate` are false; 0: none.

    Y. Benjamini and Y. Hochberg, Controlling the false discovery rate, Journal of the Royal
    Statistical Society B 57, 1995, pages 289-300.
    """
    believed = 0.0
    for rank, p_value in enumerate(sorted(p_values), start=1):
        if p_value <= rate * rank / len(p_values):
            believed = rate * rank / len(p_values)
    return believed


def changes(values: Sequence[float], alpha: float) -> list[Change]:
    """The changes of level of a series of positive values, in their order.

    Args:
        values: in the order of time; they are compared by their logarithms.
        alpha: how often a series without any change may have one.

    Raises:
        ValueError: a value is not positive.
    """
    series = _logs(values)
    cuts = sorted(_cuts(series, 0, alpha))
    if not cuts:
        return []
    starts = [0]
    starts += [at for at, _ in cuts]
    levels = []
    for start, end in itertools.pairwise([*starts, len(series)]):
        levels.append(_level(series[start:end]))
    found = []
    for (at, p_value), (before, after) in zip(cuts, itertools.pairwise(levels), strict=True):
        found.append(Change(at, before, after, p_value))
    return found


def _level(logs: Array) -> float:
    return float(np.exp(np.median(logs)))


def _logs(values: Sequence[float]) -> Array:
    if any(value <= 0 for value in values):
        raise ValueError("a series of positive values is wanted")
    found: Array = np.log(np.asarray(values, dtype=np.float64))
    return found


def _cuts(series: Array, offset: int, alpha: float) -> list[tuple[int, float]]:
    """(index, p-value) of each change; `offset` is where this part begins in the whole series."""
    if len(series) < 2 * FEWEST or np.ptp(series) == 0:
        return []
    p_value = _p_value(series, alpha)
    if p_value > alpha:
        return []
    at = int(np.argmax(_statistics(series[None, :], FEWEST)[0])) + FEWEST
    left = _cuts(series[:at], offset, alpha)
    right = _cuts(series[at:], offset + at, alpha)
    return [*left, (offset + at, p_value), *right]


def _statistics(rows: Array, fewest: int) -> Array:
    """For each row the standardised difference of means at every place to cut.

    The first place is after `fewest` points, the last before `fewest`.
    """
    count = rows.shape[1]
    sizes = np.arange(fewest, count - fewest + 1)
    centred = rows - rows.mean(axis=1, keepdims=True)
    sums = np.cumsum(centred, axis=1)[:, sizes - 1]
    found: Array = np.abs(sums) / np.sqrt(sizes * (count - sizes))
    return found


def _p_value(series: Array, alpha: float) -> float:
    """The share of permutations, the series itself among them, with a statistic as large.

    It stops as soon as the share is certain to exceed `alpha`.
    """
    blocks = _blocks(series)
    fewest = FEWEST
    if len(blocks) < len(series):  # a block of several points is no outlier
        fewest = 1
    # A hair less: a permutation with the same sums may differ by rounding, and is as large.
    observed = _statistics(blocks[None, :], fewest).max() * (1 - 1e-12)
    most = int(min(MOST, max(FIRST, np.ceil(PER_ALPHA / alpha))))
    random = np.random.default_rng(SEED)
    tried, as_large = 0, 0
    while tried < most and as_large < alpha * (most + 1):
        wanted = FIRST if tried == 0 else LATER
        count = min(wanted, most - tried)
        rows = random.permuted(np.tile(blocks, (count, 1)), axis=1)
        as_large += int((_statistics(rows, fewest).max(axis=1) >= observed).sum())
        tried += count
    return (as_large + 1) / (tried + 1)


def _blocks(series: Array) -> Array:
    """At most LONGEST means of neighbours."""
    size = -(-len(series) // LONGEST)
    whole = len(series) // size * size
    means = series[:whole].reshape(-1, size).mean(axis=1)
    rest = series[whole:]
    if not len(rest):
        return np.asarray(means, dtype=np.float64)
    return np.append(means, rest.mean())
