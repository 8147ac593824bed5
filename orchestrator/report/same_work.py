"""Which implementations do the same work, and so may be ranked against each other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from orchestrator.results.rows import Row

if TYPE_CHECKING:
    from orchestrator.report.layout import Layout

SAME = 1e-6  # relative; the work of a row is worked back from its rate and its time

Works = dict[tuple[str, ...], float]


def kinds(layout: Layout) -> dict[str, int]:
    """Implementation -> the number of its kind, from 0 in the order of the table.

    Two are of one kind unless at some point the work that their rows had to do, in useful FLOPs, differs (one projects
    its inputs, say, and the other does not). Where nothing is known of an implementation's work, it is of the first.
    """
    works: dict[str, Works] = {}
    for row in layout.rows:
        known = works.setdefault(row.implementation, {})
        if (work := _work(row)) is not None:
            known[layout.point(row)] = work
    found: list[list[Works]] = []
    return {name: _place(own, found) for name, own in works.items()}


def baselines(of_kind: Mapping[str, int], stated: str | None = None) -> dict[str, str]:
    """Implementation -> the one its speed is over: `stated` where it does the same work, else the first that does."""
    first: dict[int, str] = {} if stated is None or stated not in of_kind else {of_kind[stated]: stated}
    return {name: first.setdefault(kind, name) for name, kind in of_kind.items()}


def members(of_kind: Mapping[str, int]) -> list[list[str]]:
    """The implementations of each kind."""
    return [[name for name, kind in of_kind.items() if kind == number] for number in sorted(set(of_kind.values()))]


def _place(own: Works, found: list[list[Works]]) -> int:
    for number, others in enumerate(found):
        if _alike(own, others):
            others.append(own)
            return number
    found.append([own])
    return len(found) - 1


def _alike(own: Works, others: Sequence[Works]) -> bool:
    return all(
        math.isclose(work, other[point], rel_tol=SAME)
        for other in others
        for point, work in own.items()
        if point in other
    )


def _work(row: Row) -> float | None:
    rate, time = row.metrics.get("tflops_per_s"), row.metrics.get("latency_ms")
    return rate * time if rate and time else None
