"""Finds the largest value of a monotone axis that is ok: by doubling, then by bisection."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence

from orchestrator.outcome import Outcome
from orchestrator.plan.expand import Cell
from orchestrator.results.answers import LIMITS
from orchestrator.results.rows import Row
from orchestrator.search.base import Proposal


class Frontier:
    """The frontier of one cell, probed one trial at a time.

    It ends as soon as a probe ends neither ok nor at a limit (memory, time): such an outcome says
    nothing of larger values.

    Args:
        cell: its trials are the possible probes, smallest first.
        axis: of the frontier.
    """

    def __init__(self, cell: Cell, axis: str) -> None:
        self._cell = cell
        self._values = [trial.value(axis) for trial in cell.trials]
        self._index = {trial.trial_id: index for index, trial in enumerate(cell.trials)}
        self._known: dict[int, Outcome] = {}
        self._under_way: set[int] = set()

    def next(self) -> Proposal | None:
        """The next probe, once the last one has ended."""
        if self._under_way:
            return None
        index = self._next_index()
        if index is None:
            return None
        self._under_way.add(index)
        return Proposal(trial=self._cell.trials[index], cell=self._cell.key)

    def tell(self, row: Row) -> None:
        """Record how a probe ended."""
        index = self._index[row.trial_id]
        self._under_way.discard(index)
        if row.outcome is not None:
            self._known[index] = row.outcome

    def replay(self, proposal: Proposal) -> bool:
        """Mark a probe as under way. False: the axis no longer has its value."""
        index = self._index.get(proposal.trial.trial_id)
        if index is None:
            return False
        self._under_way.add(index)
        return True

    def invalidate(self, trial_id: str) -> None:
        """Does nothing: a frontier cuts no trial short."""

    def ended_early(self) -> str:
        """Never: the frontier's answer itself says what is unknown."""
        return ""

    def incumbent(self) -> None:
        """None: its probes do not compete."""

    def cut_above_ms(self) -> float | None:
        """Every probe is measured in full."""
        return None

    def _next_index(self) -> int | None:
        """The index to probe next; None: the answer is known, or cannot be."""
        for outcome in self._known.values():
            if outcome is not Outcome.OK and outcome not in LIMITS:
                return None
        ok = [index for index, outcome in self._known.items() if outcome is Outcome.OK]
        fits = max(ok, default=-1)
        end = len(self._values)
        first_failure = end
        for index, outcome in self._known.items():
            if outcome in LIMITS and fits < index < first_failure:
                first_failure = index
        if first_failure - fits <= 1:
            return None
        if first_failure < end:  # bisect
            return (fits + first_failure) // 2
        return following(self._values, fits)


def following(values: Sequence[float], index: int) -> int:
    """The index of the largest value at most twice that at `index`, else the next; -1 gives 0."""
    if index < 0:
        return 0
    return max(index + 1, bisect_right(values, 2 * values[index]) - 1)


def probes(values: Sequence[float]) -> tuple[int, int]:
    """How many probes a frontier over these values takes at least and at most."""
    index, most, made = -1, 0, 0
    while index < len(values) - 1:
        reached = following(values, index)
        made += 1
        most = max(most, made + math.ceil(math.log2(reached - index)))  # if it fails: bisect
        index = reached
    return 1, most
