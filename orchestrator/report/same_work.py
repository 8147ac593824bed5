"""Groups implementations that do the same work, and so may be ranked against each other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from orchestrator.results.rows import Row

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
        if (work := _work(row)) is not None:
            known[layout.point(row)] = work
    found: list[list[Works]] = []
    return {name: _place(own, found) for name, own in works.items()}


def baselines(of_kind: Mapping[str, int], stated: str | None = None) -> dict[str, str]:
    """Implementation -> its baseline: `stated` if its work is the same, else the first alike."""
    first: dict[int, str] = (
        {} if stated is None or stated not in of_kind else {of_kind[stated]: stated}
    )
    return {name: first.setdefault(kind, name) for name, kind in of_kind.items()}


def members(of_kind: Mapping[str, int]) -> list[list[str]]:
    """The implementations of each group."""
    groups: dict[int, list[str]] = {}
    for name, number in of_kind.items():
        groups.setdefault(number, []).append(name)
    return [groups[number] for number in sorted(groups)]


def _place(own: Works, found: list[list[Works]]) -> int:
    for number, others in enumerate(found):
        if _alike(own, others):
            others.append(own)
            return number
    found.append([own])
    return len(found) - 1


def _alike(own: Works, others: Sequence[Works]) -> bool:
    """Whether the work is the same at every point that is known of both."""
    for other in others:
        for point in own.keys() & other.keys():
            if not math.isclose(own[point], other[point], rel_tol=SAME):
                return False
    return True


def _work(row: Row) -> float | None:
    rate, time = row.metrics.get("tflops_per_s"), row.metrics.get("latency_ms")
    return rate * time if rate and time else None
