"""Interleaves independent searches: one per implementation and point of the unsearched axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from orchestrator.record import TrialRecord
from orchestrator.results.rows import Row, row_of
from orchestrator.search.base import Proposal
from orchestrator.trial import Trial


class Asker(Protocol):
    """Searches within one cell; see `Proposer` for the order of the calls."""

    def next(self) -> Proposal | None:
        """The trial to run now. None: none until one of its trials ends, or none any more."""
        ...

    def tell(self, row: Row) -> None:
        """Report that one of its trials has ended, perhaps again."""
        ...

    def replay(self, proposal: Proposal) -> bool:
        """Repeat a proposal of an earlier run. False: it can make no such proposal."""
        ...

    def invalidate(self, trial_id: str) -> None:
        """Until this trial has run again, use nothing of its old result."""
        ...

    def incumbent(self) -> Row | None:
        """The best row so far; None: none is ok."""
        ...

    def cut_above_ms(self) -> float | None:
        """The latency in ms above which timing its trials may stop early; None: no limit."""
        ...

    def ended_early(self) -> str:
        """Why it ended before it was complete; "": it is complete."""
        ...


class Cells:
    """Asks the cell with the fewest trials under way first.

    So slots spread over the cells, and each cell knows more results before it proposes again.

    Args:
        askers: cell key -> its searcher, in the order of the table.
        times: whether the searchers use figures; a frontier does not, it asks only what fits.
        points: cell key -> values of the axes that are not searched, as the file states them.
    """

    at_once = False
    ahead = 1  # a proposal made late rests on more results

    def __init__(
        self,
        askers: Mapping[str, Asker],
        *,
        times: bool,
        points: Mapping[str, dict[str, Any]] | None = None,
    ) -> None:
        self.times = times
        self._askers = askers
        self._points = points or {}
        self._cells_of: dict[str, set[str]] = {}
        self._under_way: dict[str, set[str]] = {key: set() for key in askers}

    def next(self, cell: str = "") -> Sequence[Proposal]:
        """One more trial, of this cell or ("") of the first that has one to propose."""
        asked = [cell]
        if not cell:
            asked = sorted(self._askers, key=lambda key: len(self._under_way[key]))
        for key in asked:
            proposal = self._askers[key].next()
            if proposal is not None:
                self._record(proposal)
                return [proposal.model_copy(update={"point": self._points.get(key)})]
        return []

    def idle(self) -> Sequence[str]:
        """The cells of which no trial is under way."""
        return [key for key, trials in self._under_way.items() if not trials]

    def tell(self, trial: Trial, records: Sequence[TrialRecord]) -> None:
        """Pass it on to the trial's cells: derived values can make points of several the same."""
        for key in sorted(self._cells_of.get(trial.trial_id, ())):
            self._under_way[key].discard(trial.trial_id)
            self._askers[key].tell(row_of(trial, records))

    def replay(self, proposal: Proposal) -> bool:
        """Pass it on to its cell. False: the sweep lacks that cell, or the cell that trial."""
        if proposal.cell not in self._askers or not self._askers[proposal.cell].replay(proposal):
            return False
        self._record(proposal)
        return True

    def invalidate(self, trials: Sequence[Trial]) -> None:
        """Pass it on to the trials' cells."""
        for trial in trials:
            for key in self._cells_of.get(trial.trial_id, ()):
                self._askers[key].invalidate(trial.trial_id)

    def incumbent(self, trial: Trial) -> Row | None:
        """The best row of the first of the trial's cells."""
        cells = self._cells_of.get(trial.trial_id)
        if not cells:
            return None
        return self._askers[min(cells)].incumbent()

    def cut_above_ms(self, trial: Trial) -> float | None:
        """The highest of its cells' limits; None if any of them has no limit."""
        highest = None
        for key in self._cells_of.get(trial.trial_id, ()):
            limit = self._askers[key].cut_above_ms()
            if limit is None:
                return None
            highest = limit if highest is None else max(highest, limit)
        return highest

    def ended_early(self) -> list[str]:
        """The reasons of the cells that are not complete."""
        reasons = []
        for asker in self._askers.values():
            reason = asker.ended_early()
            if reason:
                reasons.append(reason)
        return reasons

    def _record(self, proposal: Proposal) -> None:
        self._cells_of.setdefault(proposal.trial.trial_id, set()).add(proposal.cell)
        self._under_way[proposal.cell].add(proposal.trial.trial_id)
