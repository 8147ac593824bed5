"""The protocol between the agenda and whatever answers "what next?"."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from orchestrator.record import TrialRecord
from orchestrator.results.proposals import Proposal
from orchestrator.trial import Trial

__all__ = ["Proposal", "Proposer"]


class Proposer(Protocol):
    """Says which trials to run next, and is told how each one ended.

    A function of what it was asked, told and replayed, in that order, and of nothing else: who goes on with a sweep
    reminds it of the proposals that were made, tells it what the journal holds, and gets the same proposals from there.

    Attributes:
        at_once: whether it knows everything from the start, so that its proposals need not be kept.
        ahead: how many attempts may be under way or queued per slot.
        times: whether it asks for figures, so that a trial whose figures are doubtful is worth another attempt.
    """

    at_once: bool
    ahead: int
    times: bool

    def next(self) -> Sequence[Proposal]:
        """What to run now; nothing: not until something more ends, or never."""
        ...

    def tell(self, trial: Trial, records: Sequence[TrialRecord]) -> None:
        """A trial has ended, every round of it; told again where it was run again. `records`: all that are known."""
        ...

    def replay(self, proposal: Proposal) -> bool:
        """A proposal that was made in an earlier run; False: the sweep, as it is stated now, does not ask for it."""
        ...

    def invalidate(self, trials: Sequence[Trial]) -> None:
        """These trials are to be run again: until they have, nothing is cut by what they gave."""
        ...

    def ended_early(self) -> Sequence[str]:
        """Asked once nothing is under way and nothing more is proposed: why there are fewer trials than were wanted."""
        ...

    def cut_above_ms(self, trial: Trial) -> float | None:
        """The latency beyond which the trial is of no interest any more; None: none is."""
        ...
