"""Runs every point of the product, in an order known from the start."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.record import TrialRecord
from orchestrator.search.base import Proposal
from orchestrator.trial import Trial


class Grid:
    """All trials, once, in the order given.

    Args:
        trials: the sweep's.
        ahead: how many attempts per slot may be under way or queued.
    """

    at_once = True
    times = True

    def __init__(self, trials: Sequence[Trial], ahead: int) -> None:
        self.ahead = ahead
        self._trials = list(trials)

    def next(self, cell: str = "") -> Sequence[Proposal]:
        """Every trial at the first call, none later."""
        trials, self._trials = self._trials, []
        return [Proposal(trial=trial) for trial in trials]

    def idle(self) -> Sequence[str]:
        """None: it has no cells."""
        return ()

    def incumbent(self, trial: Trial) -> None:
        """None: its trials do not compete."""

    def tell(self, trial: Trial, records: Sequence[TrialRecord]) -> None:
        """Does nothing: a grid does not depend on results."""

    def replay(self, proposal: Proposal) -> bool:
        """Always False: a grid keeps no proposals; these are of a file that asked for a search."""
        return False

    def invalidate(self, trials: Sequence[Trial]) -> None:
        """Does nothing: a grid cuts no trial short."""

    def ended_early(self) -> Sequence[str]:
        """Never: every point is run."""
        return ()

    def cut_above_ms(self, trial: Trial) -> float | None:
        """Every cell is of interest."""
        return None
