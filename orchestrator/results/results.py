"""What a sweep left behind, read back: its meta data, its records, its environments."""

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
        observations: machine.jsonl: what was seen of the machine beside the trials.
        tracked: where its runs are looked at, if the sweep has just been run: known to who ran it, and to no file.
    """

    meta: SweepMeta
    records: tuple[TrialRecord, ...]
    environments: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    directory: Path | None = None
    observations: tuple[Observation, ...] = ()
    tracked: Tracked | None = None

    @cached_property
    def rows(self) -> list[Row]:
        """One row per planned trial, in table order; what answers a search or a frontier has it among its metrics."""
        return annotated(self.meta, rows(self.meta, self.records))

    @cached_property
    def answers(self) -> list[Answer]:
        """What a search or a frontier found, one answer per cell; none for a grid."""
        return answers(self.meta, self.rows)

    @property
    def all_ok(self) -> bool:
        """Whether every planned trial is ok or ended as `allow_outcomes` allows, and every question has an answer.

        A frontier is answered where nothing but memory and time, or what is allowed, ends its cells.
        """
        allowed = self.meta.spec.allow_outcomes
        if self.meta.spec.proposes and not all(answer.best for answer in self.answers):
            return False
        if self.meta.spec.frontier.axis is not None:
            return bool(self.rows) and all(answer.is_good(allowed) for answer in self.answers)
        return bool(self.rows) and all(
            row.outcome is not None and (row.ok or str(row.outcome) in allowed) for row in self.rows
        )
