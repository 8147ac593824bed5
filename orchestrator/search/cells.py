"""Many questions at once: each cell of a search or a frontier has a proposer of its own, which knows its cell alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from orchestrator.record import TrialRecord
from orchestrator.results.rows import Row, row_of
from orchestrator.search.base import Proposal
from orchestrator.trial import Trial


class Asker(Protocol):
    """Proposes trials for one cell; see Proposer for the order in which it is asked, told and replayed."""

    def next(self) -> Proposal | None:
        """What to run now; None: nothing until one of its trials ends, or nothing any more."""
        ...

    def tell(self, row: Row) -> None:
        """One of its trials has ended, perhaps again."""
        ...

    def replay(self, proposal: Proposal) -> bool:
        """A proposal that it made in an earlier run; False: it can make none like it."""
        ...

    def invalidate(self, trial_id: str) -> None:
        """One of its trials is to be run again."""
        ...

    def cut_above_ms(self) -> float | None:
        """The latency beyond which a trial of this cell is of no interest; None: every one is."""
        ...

    def ended_early(self) -> str:
        """Why it proposes nothing more although it was to; "": it is done."""
        ...


class Cells:
    """The cell with the fewest trials under way is asked first, so that slots are spread before a cell has to guess.

    Args:
        askers: one per cell, by the cell's key, in the order of the table.
        times: whether they ask for figures; whether something fits does not depend on them.
        points: of each cell the values of the axes that are not asked after, as the file states them.
    """

    at_once = False
    ahead = 1  # whoever decides late knows more

    def __init__(
        self, askers: Mapping[str, Asker], *, times: bool, points: Mapping[str, dict[str, Any]] | None = None
    ) -> None:
        self.times = times
        self._askers = askers
        self._points = points or {}
        self._cells_of: dict[str, set[str]] = {}
        self._under_way: dict[str, set[str]] = {key: set() for key in askers}

    def next(self) -> Sequence[Proposal]:
        """One more trial, of the first cell that has one to propose."""
        for key in sorted(self._askers, key=lambda key: len(self._under_way[key])):
            proposal = self._askers[key].next()
            if proposal is not None:
                self._note(proposal)
                return [proposal.model_copy(update={"point": self._points.get(key)})]
        return []

    def tell(self, trial: Trial, records: Sequence[TrialRecord]) -> None:
        """Pass it on to the trial's cell, or cells: what is worked out may make their points the same."""
        for key in sorted(self._cells_of.get(trial.trial_id, ())):
            self._under_way[key].discard(trial.trial_id)
            self._askers[key].tell(row_of(trial, records))

    def replay(self, proposal: Proposal) -> bool:
        """Pass it on to its cell; False: the sweep no longer has that cell, or it not that trial."""
        if proposal.cell not in self._askers or not self._askers[proposal.cell].replay(proposal):
            return False
        self._note(proposal)
        return True

    def invalidate(self, trials: Sequence[Trial]) -> None:
        """Pass it on to the trials' cells."""
        for trial in trials:
            for key in self._cells_of.get(trial.trial_id, ()):
                self._askers[key].invalidate(trial.trial_id)

    def cut_above_ms(self, trial: Trial) -> float | None:
        """What the trial's cell says; where there are more, the one that still takes interest in most."""
        limits = [self._askers[key].cut_above_ms() for key in self._cells_of.get(trial.trial_id, ())]
        known = [limit for limit in limits if limit is not None]
        return max(known) if known and len(known) == len(limits) else None

    def ended_early(self) -> list[str]:
        """What the cells say that are not done."""
        return [said for asker in self._askers.values() if (said := asker.ended_early())]

    def _note(self, proposal: Proposal) -> None:
        self._cells_of.setdefault(proposal.trial.trial_id, set()).add(proposal.cell)
        self._under_way[proposal.cell].add(proposal.trial.trial_id)
