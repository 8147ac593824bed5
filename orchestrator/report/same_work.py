"""Groups implementations that do the same work, and so may be ranked against each other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.report.layout import Layout

SAME = 1e-6  # relative: the work of a row is its rate times its time

Works = dict[tuple[str, ...], float]


def kinds(layout: Layout) -> dict[str, int]:
    """Implementation -> the number of its same-work group, from 0 in the order of the table.

    Two are of one group unless at some point the useful FLOPs of their rows differ (one projects
    its inputs, say, and the other does not). An implementation of unknown work is in the first
    group.
    """
    works: dict[str, Works] = {}
    for row in layout.rows:
        known = works.setdefault(row.implementation, {})
        rate, time = row.metrics.get("tflops_per_s"), row.metrics.get("latency_ms")
        if rate and time:
            known[layout.point(row)] = rate * time
    groups: list[list[Works]] = []
    numbers = {}
    for name, own in works.items():
        number = 0
        while number < len(groups) and not _alike(own, groups[number]):
            number += 1
        if number == len(groups):
            groups.append([])
        groups[number].append(own)
        numbers[name] = number
    return numbers


def baselines(of_kind: Mapping[str, int], stated: str | None = None) -> dict[str, str]:
    """Implementation -> its baseline: `stated` if its work is the same, else the first alike."""
    first: dict[int, str] = {}  # of each group
    if stated is not None and stated in of_kind:
        first[of_kind[stated]] = stated
    found = {}
    for name, kind in of_kind.items():
        found[name] = first.setdefault(kind, name)
    return found


def members(of_kind: Mapping[str, int]) -> list[list[str]]:
    """The implementations of each group."""
    groups: dict[int, list[str]] = {}
    for name, number in of_kind.items():
        groups.setdefault(number, []).append(name)
    return [groups[number] for number in sorted(groups)]


def _alike(own: Works, others: Sequence[Works]) -> bool:
    """Whether the work is the same at every point that is known of both."""
    for other in others:
        for point in own.keys() & other.keys():
            if not math.isclose(own[point], other[point], rel_tol=SAME):
                return False
    return True
