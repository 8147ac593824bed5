"""Searches for the best trial of one implementation at one point of the unsearched axes."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from orchestrator.plan.expand import Cell
from orchestrator.results.rows import Row
from orchestrator.search.base import Proposal
from orchestrator.search.sampler import Sampler, is_finite
from orchestrator.spec.models import SearchSpec
from orchestrator.spec.search_space import Coordinates, Space
from orchestrator.trial import Trial

ASKS_PER_SAMPLE = 20  # most of which may be repetitions, or points that cannot be run
WORSE = 2.0  # a trial that is not ok counts as so many times as bad as the worst so far
NO_SCALE = 1e9  # the same, as long as no trial was ok
CUT_MARGIN = 0.1  # a trial is clearly slower if its interval lies this far above the best's
CUT_BY = "latency_ms"

Make = Callable[[Mapping[str, Any]], Trial | None]


class Search:
    """Asks a sampler for points, skips those that are known or invalid, and reports the values.

    Args:
        cell: the implementation, and the values of the other axes.
        spec: metric, direction, samples and first points.
        space: the searched axes.
        sampler: chooses the points.
        make: values of the searched axes -> the trial there; None: no trial is valid there.
    """

    def __init__(
        self, cell: Cell, spec: SearchSpec, space: Space, sampler: Sampler, make: Make
    ) -> None:
        self._cell = cell
        self._spec = spec
        self._space = space
        self._sampler = sampler
        self._make = make
        self._first = list(spec.first)
        self._asks = 0
        self._proposed: set[str] = set()
        self._tokens: dict[str, list[str]] = {}
        self._unasked: dict[str, Coordinates] = {}
        self._rows: dict[str, Row] = {}
        self._waits = False
        self._invalid: set[str] = set()
        self._finals: set[str] = set()

    def next(self) -> Proposal | None:
        """The next trial; None: none before another ends, or none any more."""
        if self._waits:
            return None
        under_way = set(self._tokens)
        proposal = self._propose()
        if proposal is None and not self._tokens:
            proposal = self._final()
        self._waits = proposal is None or proposal.trial.trial_id in under_way
        return proposal

    def incumbent(self) -> Row | None:
        """The row with the best value so far; None: none is ok."""
        return min(self._valid_rows(), key=self._rank, default=None)

    def _valid_rows(self) -> list[Row]:
        """The rows with a value that still holds."""
        found = []
        for trial_id, row in self._rows.items():
            if trial_id not in self._invalid and self._value(row) is not None:
                found.append(row)
        return found

    def _final(self) -> Proposal | None:
        """The next screened trial to be measured by itself; None: enough are, or none is left.

        They are the first stated point, with which the answer is compared, and as many of the best
        as the sweep file says; one that fails leaves its place to the next.
        """
        start = self._start_id()
        finalists = 0  # besides the first stated point: measured by themselves, or under way
        candidates = []
        for trial_id, row in self._rows.items():
            if row.is_screened and trial_id not in self._finals:
                if trial_id == start:
                    return self._final_of(row)
                candidates.append(row)
            elif trial_id != start and (row.is_screened or row.ok):
                finalists += 1
        if finalists >= self._spec.finalists or not candidates:
            return None
        return self._final_of(min(candidates, key=self._rank))

    def _start_id(self) -> str:
        """The id of the first stated point's trial; "": there is none."""
        if not self._spec.first:
            return ""
        start = self._make(self._spec.first[0])
        if start is None:
            return ""
        return start.trial_id

    def _final_of(self, row: Row) -> Proposal:
        self._finals.add(row.trial_id)
        return Proposal(trial=row.trial, cell=self._cell.key, final=True)

    def _rank(self, row: Row) -> float:
        """The lower, the better."""
        value = self._value(row)
        if value is None:
            return math.inf
        return value if self._spec.least else -value

    def ended_early(self) -> str:
        """Why there are fewer trials than samples; "": it is complete."""
        made, wanted = len(self._rows.keys() | self._tokens.keys()), self._spec.samples
        if made >= wanted or self._is_exhausted():
            return ""
        head = f"{self._cell.entry.label}: {made} of {wanted} samples"
        if self._is_spent():
            return f"{head} in search.budget_s = {self._spec.budget_s:g} s"
        if self._asks >= self._most_asks():
            return (
                f"{head}, since none of the last of {self._asks} proposals was a new point that "
                "can be run"
            )
        return f"{head}, since {self._spec.strategy} proposes nothing more"

    def tell(self, row: Row) -> None:
        """Report the trial's value to the sampler; a bad one if it is not ok."""
        self._rows[row.trial_id] = row
        self._invalid.discard(row.trial_id)
        self._waits = False
        # Several tokens: the sampler may have chosen a trial again while it was under way.
        for token in self._tokens.pop(row.trial_id, ()):
            self._sampler.tell(token, self._reported(row))
        coordinates = self._unasked.pop(row.trial_id, None)
        if coordinates is not None:
            self._sampler.learn(coordinates, self._reported(row))

    def replay(self, proposal: Proposal) -> bool:
        """Ask the sampler again, and expect the same proposal.

        A proposal that the sampler no longer makes is kept if it lies in the space, and its value
        is reported as one of a point that the sampler did not choose.
        """
        trial_id = proposal.trial.trial_id
        if proposal.final:
            if trial_id not in self._rows:
                return False
            self._finals.add(trial_id)
            return True
        place = self._place(proposal)
        if place is None and not self._is_stated(trial_id):
            return False
        made = self._propose()
        self._waits = False
        if made is not None:
            if made.trial.trial_id == trial_id:
                return True
            for token in self._tokens.pop(made.trial.trial_id, ()):
                self._sampler.withdraw(token)
            self._unasked.pop(made.trial.trial_id, None)
        if trial_id not in self._rows:
            self._tokens.setdefault(trial_id, [])
        if place is not None:
            self._unasked[trial_id] = place
        return True

    def _place(self, proposal: Proposal) -> Coordinates | None:
        """The coordinates of an earlier run's proposal; None: it lies outside today's space."""
        values = {}
        for dimension in self._space.dimensions:
            values[dimension.name] = proposal.trial.value(dimension.name)
        # A derived value does not tell what the searcher chose: then the proposal itself does.
        for coordinates in (self._space.coordinates(values), proposal.coordinates):
            if coordinates is None or not self._space.has(coordinates):
                continue
            trial = self._make(self._space.values(coordinates))
            if trial is not None and trial.trial_id == proposal.trial.trial_id:
                return coordinates
        return None

    def _is_stated(self, trial_id: str) -> bool:
        """Whether it is the trial of a first point that the sweep file states."""
        for point in self._spec.first:
            trial = self._make(point)
            if trial is not None and trial.trial_id == trial_id:
                return True
        return False

    def invalidate(self, trial_id: str) -> None:
        """Until this trial has run again, neither cut others by its old result nor compare them."""
        self._invalid.add(trial_id)

    def cut_above_ms(self) -> float | None:
        """A little above the best interval so far, if the search minimizes latency; else None."""
        if self._spec.metric != CUT_BY or not self._spec.least or self._spec.screen:
            return None
        ends = []
        for row in self._valid_rows():
            end = row.metrics.get("latency_ci_high_ms")
            if end is not None:
                ends.append(end)
        if not ends:
            return None
        return min(ends) * (1 + CUT_MARGIN)

    def _propose(self) -> Proposal | None:
        """The next trial that is new or under way; None: there is none, or the sampler waits."""
        while self._first:
            first = self._first.pop(0)
            trial = self._make(first)
            if trial is None:
                continue
            if trial.trial_id not in self._rows and trial.trial_id not in self._tokens:
                place = self._space.coordinates(first)
                if place is not None:
                    self._unasked[trial.trial_id] = place
                return self._proposal(trial, place)
        while self._may_ask():
            token = str(self._asks)
            self._asks += 1
            coordinates = self._sampler.ask(token)
            if coordinates is None:
                return None
            values = self._space.values(coordinates)
            self._proposed.add(json.dumps(values, sort_keys=True))
            trial = self._make(values)
            if trial is None:
                self._sampler.tell(token, self._bad())
            elif trial.trial_id in self._rows:
                self._sampler.tell(token, self._reported(self._rows[trial.trial_id]))
            elif self._spec.screen and trial.trial_id in self._tokens:
                self._tokens[trial.trial_id].append(token)  # others can fill its process meanwhile
            else:
                return self._proposal(trial, coordinates, token)
        return None

    def _proposal(
        self, trial: Trial, coordinates: Coordinates | None, token: str | None = None
    ) -> Proposal:
        tokens = self._tokens.setdefault(trial.trial_id, [])
        if token is not None:
            tokens.append(token)
        point = None if coordinates is None else dict(coordinates)
        return Proposal(trial=trial, cell=self._cell.key, coordinates=point)

    def _may_ask(self) -> bool:
        """Whether there are samples, asks and points left."""
        if len(self._rows.keys() | self._tokens.keys()) >= self._spec.samples:
            return False
        if self._asks >= self._most_asks() or self._is_spent():
            return False
        return not self._is_exhausted()

    def _is_exhausted(self) -> bool:
        """Whether every point of the space was proposed."""
        return self._space.size is not None and len(self._proposed) >= self._space.size

    def _is_spent(self) -> bool:
        """Whether the trials that have ended took `search.budget_s` together."""
        if self._spec.budget_s is None:
            return False
        spent_s = sum(_duration_s(row) for row in self._rows.values())
        return spent_s >= self._spec.budget_s

    def _most_asks(self) -> int:
        return max(self._sampler.fewest_asks, ASKS_PER_SAMPLE * self._spec.samples)

    def _reported(self, row: Row) -> float:
        """The value that the sampler gets for a row: its metric, or a bad one."""
        value = self._value(row)
        return self._bad() if value is None else value

    def _bad(self) -> float:
        """A value worse than any so far, and finite: not every searcher takes infinity."""
        sign = 1.0 if self._spec.least else -1.0
        values = []
        for row in self._rows.values():
            value = self._value(row)
            if value is not None:
                values.append(sign * value)
        if not values:
            return sign * NO_SCALE
        worst = max(values)
        return sign * (worst + (WORSE - 1) * max(abs(worst), 1e-9))

    def _value(self, row: Row) -> float | None:
        """The row's metric; None if it is not ok or not finite."""
        if not row.ok:
            return None
        value = row.metrics.get(self._spec.metric)
        return value if is_finite(value) else None


def _duration_s(row: Row) -> float:
    """Seconds between the start and the end of the row's attempts that count."""
    spent = 0.0
    for record in row.records:
        start, end = record.started_at, record.finished_at
        spent += (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()
    return spent
