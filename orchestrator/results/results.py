"""What a sweep left behind, read back: its meta data, its records, its environments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from orchestrator.machine.observation import Observation
from orchestrator.record import SCHEMA_VERSION, TrialRecord
from orchestrator.spec.models import Model, SweepSpec
from orchestrator.trial import Trial

if TYPE_CHECKING:
    import pandas

    from orchestrator.results.answers import Answer
    from orchestrator.results.rows import Row


class AskedCell(Model):
    """One question of a search or a frontier, and what was proposed for it.

    Attributes:
        point: axis -> value as the file states it, of the axes that are not asked after; None: not known.
        trials: trial_ids in the order proposed; one may be in several cells.
    """

    point: dict[str, Any] | None
    trials: tuple[str, ...]


class SweepMeta(Model):
    """sweep.resolved.json: the sweep file as it was understood, and the trials it became.

    Attributes:
        sweep_id: `<YYYYmmdd_HHMMSS>_<4 hex digits>`; the time is the one in the table's title.
        created_at: ISO 8601 with offset.
        base_dir: the folder that relative paths of the sweep file start from.
        device: "cpu" or "cuda".
        planned: every trial, in the order of the table; of a search or a frontier those that were proposed so far.
        cells: of a search or a frontier its questions, as far as trials were proposed for them, by a key.
        at_most: how many there can be at most, where not all of them are planned from the start.
        only: the expression that chose them, if one did.
        duel: the labels of the two implementations that were measured in turns; None: each trial by itself.
    """

    schema_version: int = SCHEMA_VERSION
    sweep_id: str
    name: str
    created_at: str
    base_dir: str
    device: str
    spec: SweepSpec
    planned: tuple[Trial, ...]
    cells: dict[str, AskedCell] = {}
    at_most: int | None = None
    only: str | None = None
    duel: tuple[str, str] | None = None


class Tracked(NamedTuple):
    """Where a person looks at a sweep's runs, and what to run first so that the address answers (None: nothing)."""

    address: str
    command: str | None = None


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
        from orchestrator.results.answers import annotated
        from orchestrator.results.rows import rows

        return annotated(self.meta, rows(self))

    @cached_property
    def answers(self) -> list[Answer]:
        """What a search or a frontier found, one answer per cell; none for a grid."""
        from orchestrator.results.answers import answers

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

    def table(self, form: str = "txt") -> str:
        """The results as text: txt (the table), md, csv, latex or html."""
        from orchestrator.report import render

        return render(self, form)

    def to_pandas(self) -> pandas.DataFrame:
        """One line per row: implementation, params, options, outcome, flags, metrics, the error's message."""
        import pandas as pd

        return pd.DataFrame([_flat(row) for row in self.rows])


def _flat(row: Row) -> dict[str, Any]:
    options = {f"options.{name}": value for name, value in row.trial.options.items()}
    return {
        "trial_id": row.trial_id,
        "implementation": row.implementation,
        **row.params,
        **options,
        "outcome": str(row.outcome) if row.outcome else None,
        "flags": " ".join(row.flags),
        **row.metrics,
        "error": row.error.message if row.error else None,
    }
