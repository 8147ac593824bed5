"""Every point of the product, known from the start."""

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

    def next(self) -> Sequence[Proposal]:
        """Everything, the first time."""
        trials, self._trials = self._trials, []
        return [Proposal(trial=trial) for trial in trials]

    def tell(self, trial: Trial, records: Sequence[TrialRecord]) -> None:
        """A grid learns nothing."""

    def replay(self, proposal: Proposal) -> bool:
        """A grid knows its trials; what was proposed when the file asked for more than a grid is none of them."""
        return False

    def invalidate(self, trials: Sequence[Trial]) -> None:
        """Nothing is cut by what others gave."""

    def ended_early(self) -> Sequence[str]:
        """Every point is run."""
        return ()

    def cut_above_ms(self, trial: Trial) -> float | None:
        """Every cell is of interest."""
        return None
