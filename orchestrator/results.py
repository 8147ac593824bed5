"""What a sweep left behind, read back: its meta data, its records, its environments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.record import SCHEMA_VERSION, TrialRecord
from orchestrator.spec import Model, SweepSpec
from orchestrator.trial import Trial


class SweepMeta(Model):
    """sweep.resolved.json: the sweep file as it was understood, and the trials it became.

    Attributes:
        sweep_id: `<YYYYmmdd_HHMMSS>_<4 hex digits>`; the time is the one in the table's title.
        created_at: ISO 8601 with offset.
        base_dir: the folder that relative paths of the sweep file start from.
        device: "cpu" or "cuda".
        planned: every trial, in the order of the table.
    """

    schema_version: int = SCHEMA_VERSION
    sweep_id: str
    name: str
    created_at: str
    base_dir: str
    device: str
    spec: SweepSpec
    planned: tuple[Trial, ...]


@dataclass(frozen=True)
class Results:
    """A sweep's results; every report is a function of this value alone.

    Attributes:
        meta: what was asked.
        records: the journal's records, in the order they finished.
        environments: environment.json: fingerprint hash -> {"match": {...}, "know": {...}}.
        directory: where the sweep's files are (None for results that were never written).
    """

    meta: SweepMeta
    records: tuple[TrialRecord, ...]
    environments: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    directory: Path | None = None
