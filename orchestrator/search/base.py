"""The protocol between the queue of attempts and a searcher: propose, tell, replay, invalidate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from orchestrator.record import TrialRecord
from orchestrator.results.proposals import Proposal
from orchestrator.results.rows import Row
from orchestrator.trial import Trial

__all__ = ["Proposal", "Proposer"]


class Proposer(Protocol):
    """Proposes the trials to run next, and learns how each one ended.

    Its proposals depend on the calls made to it, in their order, and on nothing else. So `resume`
    replays the proposals that were made, tells what the journal holds, and gets the same proposals
    from there on.

    Attributes:
        at_once: True if it knows every trial from the start: its proposals need not be kept.
        ahead: how many attempts may be under way or queued per slot.
        times: True if it uses figures: a trial with an unreliable figure is worth another attempt.
    """

    at_once: bool
    ahead: int
    times: bool

    def next(self, cell: str = "") -> Sequence[Proposal]:
        """Trials to run now, of one cell or ("") of any. Empty: none until another trial ends, or
        none any more.
        """
        ...

    def idle(self) -> Sequence[str]:
        """The cells of which no trial is under way."""
        ...

    def tell(self, trial: Trial, records: Sequence[TrialRecord]) -> None:
        """Report a trial of which every round has ended; again, if it was run again.

        Args:
            trial: which.
            records: every record of it that is known.
        """
        ...

    def replay(self, proposal: Proposal) -> bool:
        """Repeat a proposal of an earlier run. False: the sweep no longer contains it."""
        ...

    def invalidate(self, trials: Sequence[Trial]) -> None:
        """Until these trials have run again, let their old results cut no other trial short."""
        ...

    def ended_early(self) -> Sequence[str]:
        """Why there are fewer trials than were wanted; asked once nothing is under way."""
        ...

    def incumbent(self, trial: Trial) -> Row | None:
        """The best row so far among those that the trial competes with; None: none is ok."""
        ...

    def cut_above_ms(self, trial: Trial) -> float | None:
        """The latency in ms above which timing the trial may stop early; None: no limit."""
        ...
