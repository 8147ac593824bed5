"""Holds the results of a sweep, as read from its directory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from orchestrator.machine.observation import Observation
from orchestrator.record import TrialRecord
from orchestrator.results.answers import Answer, annotated, answers
from orchestrator.results.meta import SweepMeta, Tracked
from orchestrator.results.rows import Row, rows


@dataclass(frozen=True)
class Results:
    """A sweep's results; every report is a function of this value alone.

    Attributes:
        meta: what was asked.
        records: the journal's records, in the order they finished.
        environments: environment.json: fingerprint hash -> {"match": {...}, "know": {...}}.
        directory: where the sweep's files are (None for results that were never written).
        observations: machine.jsonl: observations of the machine between trials.
        tracked: where its runs are shown, if the sweep has just run; no file holds it.
    """

    meta: SweepMeta
    records: tuple[TrialRecord, ...]
    environments: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    directory: Path | None = None
    observations: tuple[Observation, ...] = ()
    tracked: Tracked | None = None

    @cached_property
    def rows(self) -> list[Row]:
        """One row per planned trial, in table order; a best row has its cell's result as metric."""
        return annotated(self.meta, rows(self.meta, self.records))

    @property
    def made(self) -> list[TrialRecord]:
        """The records that this sweep measured itself."""
        return [record for record in self.records if not record.reused_from]

    @cached_property
    def answers(self) -> list[Answer]:
        """The results of a search or a frontier, one per cell; none for a grid."""
        return answers(self.meta, self.rows)

    @property
    def all_ok(self) -> bool:
        """Whether every planned trial is ok or allowed to fail, and every cell has a result.

        A frontier's trials may also end at a limit of memory or time.
        """
        allowed = self.meta.spec.allow_outcomes
        if self.meta.spec.proposes and not all(answer.best for answer in self.answers):
            return False
        if self.meta.spec.frontier.axis is not None:
            return bool(self.rows) and all(answer.is_good(allowed) for answer in self.answers)
        for row in self.rows:
            if row.outcome is None:
                return False
            if not row.ok and str(row.outcome) not in allowed:
                return False
        return bool(self.rows)
