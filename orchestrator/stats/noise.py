"""Detects a noisy series: too wide an interval, too much spread, drift, two modes. Pure.

The limits are multiples of `target_ci`, which says how steady the device can be. At a GPU's 0.5 %
the quartiles may be 2 % apart, and the time may drift by 1 %. At a CPU's 3 % these are 12 and 6 %:
on two idle cores, calls of a few milliseconds have quartiles 2 to 8 % apart, and a flag on every
row would say nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from orchestrator.spec.models import MeasureProtocol
from orchestrator.stats.summary import Array, Summary, interval

IQR_PER_TARGET = 4.0
DRIFT_PER_TARGET = 2.0
TARGETS = (0.005, 0.03)  # a GPU's and a CPU's: a target beyond them does not move the limits
FEWEST_FOR_MODES = 40  # shorter skewed series fall into two clusters by chance


def noise_reasons(
    values: Sequence[float], summary: Summary, protocol: MeasureProtocol
) -> tuple[str, ...]:
    """The reasons for the flag `noisy`, one sentence each; empty for a steady series."""
    series = np.asarray(values, dtype=np.float64)
    most_iqr, most_drift = IQR_PER_TARGET * _aim(protocol), max_drift(protocol)
    found = []
    if summary.half_width > protocol.target_ci:
        found.append(
            f"interval +-{percent(summary.half_width)} wide, target_ci is "
            f"{percent(protocol.target_ci)}"
        )
    if summary.noise_pct > 100 * most_iqr:
        found.append(
            f"interquartile range {summary.noise_pct:.1f} % of the median, more than "
            f"{percent(most_iqr)}"
        )
    shift = drift(series)
    if abs(shift) > most_drift:
        found.append(
            f"drift of {percent(shift)} from the first third to the last, more than "
            f"{percent(most_drift)}"
        )
    modes = two_modes(series, most_drift)
    if modes is not None:
        found.append(f"two modes, at {modes[0]:.4g} and {modes[1]:.4g}")
    return tuple(found)


def max_drift(protocol: MeasureProtocol) -> float:
    """The largest change, as a fraction, that does not count as one.

    It is applied between the ends of a run, between windows of a warm-up, and between two modes.
    """
    return DRIFT_PER_TARGET * _aim(protocol)


def _aim(protocol: MeasureProtocol) -> float:
    """The target that the limits follow: the sweep's own, but none beyond TARGETS."""
    return min(max(protocol.target_ci, TARGETS[0]), TARGETS[1])


def percent(fraction: float) -> str:
    """`3.9 %`, `504 %`; `?` of what is not known."""
    if math.isinf(fraction):
        return "?"
    if abs(fraction) >= 1:
        return f"{100 * fraction:.0f} %"
    return f"{100 * fraction:.2g} %"


def drift(series: Array) -> float:
    """Change from the first third to the last, as a fraction of the median.

    0 if the intervals of the two thirds overlap.
    """
    third = len(series) // 3
    if third < 3:
        return 0.0
    first, last = series[:third], series[-third:]
    (first_low, first_high), (last_low, last_high) = interval(first), interval(last)
    if first_low is None or first_high is None or last_low is None or last_high is None:
        return 0.0
    if first_low <= last_high and last_low <= first_high:
        return 0.0
    return float((np.median(last) - np.median(first)) / np.median(series))


def two_modes(series: Array, least: float = 0.01) -> tuple[float, float] | None:
    """The centres of two clusters with little between them, or None.

    The split of the sorted values with the most variance between its clusters (least squares) must
    leave a tenth of the values on either side. The centres must lie apart by the share `least` of
    the median and by four pooled deviations. The middle third between them must hold less than a
    third of what it would if the values were spread evenly.
    """
    count = len(series)
    if count < FEWEST_FOR_MODES:
        return None
    ordered = np.sort(series)
    # The split with the most variance between the clusters, from the sums of the lower cluster.
    sums = np.cumsum(ordered)[:-1]
    lower = np.arange(1, count)
    between_clusters = (sums * count - lower * ordered.sum()) ** 2 / (lower * (count - lower))
    split = int(np.argmax(between_clusters)) + 1
    low, high = ordered[:split], ordered[split:]
    centres = float(np.median(low)), float(np.median(high))
    gap = centres[1] - centres[0]
    deviation = math.sqrt((float(low.var()) + float(high.var())) / 2)
    if min(split, count - split) < count / 10:
        return None
    if gap < least * float(np.median(series)) or gap < 4 * deviation:
        return None
    between = np.count_nonzero((ordered > centres[0] + gap / 3) & (ordered < centres[1] - gap / 3))
    even = np.count_nonzero((ordered >= centres[0]) & (ordered <= centres[1])) / 3
    if between >= even / 3:
        return None
    return centres
