"""Percentiles of repetitions. Without NumPy, which a report need not import."""

from __future__ import annotations

from collections.abc import Sequence

SHARES = {"min": 0.0, "p5": 0.05, "p50": 0.5, "p95": 0.95}


def percentile(ordered: Sequence[float], share: float) -> float:
    """By linear interpolation between the two values around it, as NumPy does by default.

    Args:
        ordered: at least one value, in ascending order.
        share: from 0, the least value, to 1, the largest.
    """
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])
