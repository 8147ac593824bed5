"""What is the best: one search, of one implementation at one point of the axes that are not searched."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.plan.expand import Cell
from orchestrator.results.rows import Row
from orchestrator.search.base import Proposal
from orchestrator.search.sampler import Sampler, is_number
from orchestrator.spec.models import SearchSpec
from orchestrator.spec.search_space import Coordinates, Space
from orchestrator.trial import Trial

ASKS_PER_SAMPLE = 20  # of which most may be repetitions, or points that cannot be
WORSE = 2.0  # how many times as bad as the worst so far a trial counts that is not ok
NO_SCALE = 1e9  # the same, as long as no trial was ok
CUT_MARGIN = 0.1  # a trial is plainly worse where its interval lies so far above that of the best
CUT_BY = "latency_ms"

Make = Callable[[Mapping[str, Any]], Trial | None]


class Search:
    """Asks a sampler for points, leaves out those that were or cannot be, and tells it what the others gave.

    Args:
        cell: what is given.
        spec: what is wanted.
        space: the searched axes.
        sampler: chooses the points.
        make: searched axis -> value to the trial there; None: there can be none.
    """

    def __init__(self, cell: Cell, spec: SearchSpec, space: Space, sampler: Sampler, make: Make) -> None:
        self._cell = cell
        self._spec = spec
        self._space = space
        self._sampler = sampler
        self._make = make
        self._first = list(spec.first)
        self._asks = 0
        self._met: set[str] = set()
        self._tokens: dict[str, list[str]] = {}
        self._unasked: dict[str, Coordinates] = {}
        self._rows: dict[str, Row] = {}
        self._waits = False
        self._doubted: set[str] = set()

    def next(self) -> Proposal | None:
        """The next trial; None: not before another ends, or no more."""
        if self._waits:
            return None
        under_way = set(self._tokens)
        proposal = self._propose()
        self._waits = proposal is None or proposal.trial.trial_id in under_way
        return proposal

    def ended_early(self) -> str:
        """Why there are fewer trials than samples, once nothing is under way; "": there are as many, or every point."""
        made, wanted = len(self._rows.keys() | self._tokens.keys()), self._spec.samples
        if made >= wanted or (self._space.size is not None and len(self._met) >= self._space.size):
            return ""
        head = f"{self._cell.entry.label}: {made} of {wanted} samples"
        if self._asks >= self._most_asks():
            return f"{head}, since none of the last of {self._asks} proposals was a new point that can be run"
        return f"{head}, since {self._spec.strategy} proposes nothing more"

    def tell(self, row: Row) -> None:
        """A trial has ended: its value, or that it is bad, goes to the sampler."""
        self._rows[row.trial_id] = row
        self._doubted.discard(row.trial_id)
        self._waits = False
        for token in self._tokens.pop(row.trial_id, ()):
            self._sampler.tell(token, self._told(row))
        if (coordinates := self._unasked.pop(row.trial_id, None)) is not None:
            self._sampler.learn(coordinates, self._told(row))

    def replay(self, proposal: Proposal) -> bool:
        """Ask the sampler again for what it proposed; what it no longer proposes is kept, if it lies in the space."""
        trial_id = proposal.trial.trial_id
        place = self._place(proposal)
        if place is None and not any(_is(trial_id, self._make(point)) for point in self._spec.first):
            return False
        made = self._propose()
        self._waits = False
        if _is(trial_id, None if made is None else made.trial):
            return True
        if made is not None:
            self._withdraw(made)
        if trial_id not in self._rows:
            self._tokens.setdefault(trial_id, [])
        if place is not None:
            self._unasked[trial_id] = place
        return True

    def _place(self, proposal: Proposal) -> Coordinates | None:
        """Where a proposal of an earlier run lies in the space, which may have been another; None: nowhere."""
        values = {dimension.name: proposal.trial.value(dimension.name) for dimension in self._space.dimensions}
        for coordinates in (self._space.coordinates(values), proposal.coordinates):
            if coordinates is None or not self._space.has(coordinates):
                continue
            if _is(proposal.trial.trial_id, self._make(self._space.values(coordinates))):
                return coordinates
        return None

    def invalidate(self, trial_id: str) -> None:
        """A trial is to be run again: what it gave may not be true any more."""
        self._doubted.add(trial_id)

    def cut_above_ms(self) -> float | None:
        """A little above the interval of the best so far, where the least latency is wanted."""
        if self._spec.metric != CUT_BY or not self._spec.least:
            return None
        known = (row for row in self._rows.values() if row.trial_id not in self._doubted)
        ends = (row.metrics.get("latency_ci_high_ms") for row in known if self._value(row) is not None)
        least = min((end for end in ends if end is not None), default=None)
        return None if least is None else least * (1 + CUT_MARGIN)

    def _propose(self) -> Proposal | None:
        """The next trial that is new, or under way already; None: there is no other, or the sampler wants to wait."""
        while self._first:
            first = self._first.pop(0)
            trial = self._make(first)
            if trial is not None and not self._is_known(trial):
                place = self._space.coordinates(first)
                if place is not None:
                    self._unasked[trial.trial_id] = place
                return self._proposal(trial, place)
        while self._may_ask():
            token = f"{self._asks}"
            self._asks += 1
            coordinates = self._sampler.ask(token)
            if coordinates is None:
                return None
            values = self._space.values(coordinates)
            self._met.add(json.dumps(values, sort_keys=True))
            trial = self._make(values)
            if trial is None:
                self._sampler.tell(token, self._bad())
            elif trial.trial_id in self._rows:
                self._sampler.tell(token, self._told(self._rows[trial.trial_id]))
            else:
                return self._proposal(trial, coordinates, token)
        return None

    def _proposal(self, trial: Trial, coordinates: Coordinates | None, token: str | None = None) -> Proposal:
        self._tokens.setdefault(trial.trial_id, []).extend([] if token is None else [token])
        point = None if coordinates is None else dict(coordinates)
        return Proposal(trial=trial, cell=self._cell.key, coordinates=point)

    def _withdraw(self, made: Proposal) -> None:
        for token in self._tokens.pop(made.trial.trial_id, ()):
            self._sampler.withdraw(token)
        self._unasked.pop(made.trial.trial_id, None)

    def _is_known(self, trial: Trial) -> bool:
        return trial.trial_id in self._rows or trial.trial_id in self._tokens

    def _may_ask(self) -> bool:
        """Whether there are samples, asks and points left."""
        if len(self._rows.keys() | self._tokens.keys()) >= self._spec.samples:
            return False
        if self._asks >= self._most_asks():
            return False
        return self._space.size is None or len(self._met) < self._space.size

    def _most_asks(self) -> int:
        return max(self._sampler.fewest_asks, ASKS_PER_SAMPLE * self._spec.samples)

    def _told(self, row: Row) -> float:
        value = self._value(row)
        return self._bad() if value is None else value

    def _bad(self) -> float:
        """Worse than anything seen, and finite: not every searcher takes infinity."""
        sign = 1.0 if self._spec.least else -1.0
        values = [sign * value for row in self._rows.values() if (value := self._value(row)) is not None]
        if not values:
            return sign * NO_SCALE
        worst = max(values)
        return sign * (worst + (WORSE - 1) * max(abs(worst), 1e-9))

    def _value(self, row: Row) -> float | None:
        value = row.metrics.get(self._spec.metric) if row.ok else None
        return value if is_number(value) else None


def _is(trial_id: str, made: Trial | None) -> bool:
    return made is not None and made.trial_id == trial_id
