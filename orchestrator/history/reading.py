"""One sweep's directory as the index keeps it: its rows, where their records are, their figures."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from orchestrator.errors import OrchestratorError
from orchestrator.history.identity import asked
from orchestrator.machine.observation import WORDS, controls, values_of
from orchestrator.record import TrialRecord
from orchestrator.results import journal, sweep_directory
from orchestrator.results.journal import Place
from orchestrator.results.results import Results
from orchestrator.results.rows import Row
from orchestrator.trial import Trial

Key = tuple[str, int, int]  # of an attempt; see TrialRecord.key


@dataclass(frozen=True)
class IndexedRow:
    """A row that ran.

    Attributes:
        flags: by spaces.
        source, environment, protocol: of the first round that counts.
        card: UUID of the GPU; empty: none, or not known.
        reused_from: id of the sweep that measured it; empty: this one.
        reusable: whether it may stand for a row of another sweep: ok, not flagged, every round by
            the same code on the same machine.
        finished: seconds since 1970.
        latency, low, high: the latency in ms and the ends of its interval; None: none.
        names, figures: the metrics' names, and as JSON their values in that order, to six digits.
        places: as JSON, offset and length in the journal of each round's record, from round 1 on.
    """

    trial: Trial
    outcome: str
    flags: str
    source: str
    environment: str
    protocol: str
    card: str
    host: str
    reused_from: str
    reusable: bool
    finished: float
    latency: float | None
    low: float | None
    high: float | None
    names: list[str]
    figures: str
    places: str


@dataclass(frozen=True)
class IndexedSweep:
    """A sweep.

    Attributes:
        controls: of each control the least and the most it took, in ms.
        error: why the sweep cannot be read, if it cannot.
    """

    sweep_id: str
    name: str = ""
    created_at: str = ""
    device: str = ""
    imported: bool = False
    asked: Mapping[str, Any] = field(default_factory=dict)
    controls: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    environments: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    rows: Sequence[IndexedRow] = ()
    error: str | None = None


def read_sweep(directory: Path) -> IndexedSweep:
    """The sweep in a directory; runs no code that it names.

    Whatever is wrong with its files, which others may have written, is its `error`.
    """
    try:
        return _read(directory)
    except (OrchestratorError, OSError) as error:
        return IndexedSweep(directory.name, error=str(error))
    except (ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
        why = f"its files are not what a sweep writes ({type(error).__name__}: {error})"
        return IndexedSweep(directory.name, error=why)


def _read(directory: Path) -> IndexedSweep:
    records: list[TrialRecord] = []
    places: dict[Key, Place] = {}
    if (directory / journal.FILE_NAME).exists():
        for record, place in journal.read_placed(directory):
            records.append(record)
            places.setdefault(record.key, place)  # of an attempt the first counts, as for its row
    results = sweep_directory.load(directory, records)
    meta = results.meta
    imported = sweep_directory.is_imported(directory)
    may_be_reused = meta.duel is None and not imported
    ran = [row for row in results.rows if row.outcome is not None]
    environments = {}
    for hash_, facts in results.environments.items():
        environments[hash_] = (facts.get("match", {}), facts.get("know", {}))
    return IndexedSweep(
        meta.sweep_id,
        meta.name,
        meta.created_at,
        meta.device,
        imported,
        asked(meta.spec, meta.device, in_turns=meta.duel is not None),
        _controls(results),
        environments,
        [_indexed(row, places, may_be_reused) for row in ran],
    )


def record_at(directory: Path, place: Place) -> TrialRecord:
    """The record at a place of a sweep's journal.

    Raises:
        JournalError: there is none.
        OSError: the journal cannot be read.
    """
    path = directory / journal.FILE_NAME
    with path.open("rb") as file:
        file.seek(place[0])
        return journal.parse(file.read(place[1]), f"{path} at byte {place[0]}")


def _controls(results: Results) -> dict[str, tuple[float, float]]:
    """Control -> the least and the most that it took, in ms."""
    series = controls(results.observations)
    found = {}
    for name in WORDS:
        values = values_of(series, name)
        if values:
            found[name] = (min(values), max(values))
    return found


def _indexed(row: Row, places: Mapping[Key, Place], may_be_reused: bool) -> IndexedRow:
    first, last = row.records[0], row.records[-1]
    figures = {}
    for name, value in row.metrics.items():
        if value is not None and math.isfinite(value):
            figures[name] = float(f"{value:.6g}")  # as many digits as are stored
    latency = figures.pop("latency_ms", None)
    low = figures.pop("latency_ci_low_ms", None)
    high = figures.pop("latency_ci_high_ms", None)
    return IndexedRow(
        row.trial,
        str(row.outcome),
        " ".join(row.flags),
        first.fingerprint.source,
        first.fingerprint.environment,
        first.fingerprint.protocol,
        first.card or "",
        first.host,
        row.reused_from,
        may_be_reused and row.ok and not row.flags and _is_whole(row.records),
        _seconds(last.finished_at),
        latency,
        low,
        high,
        list(figures),
        json.dumps(list(figures.values()), separators=(",", ":")),
        json.dumps([places[record.key] for record in row.records], separators=(",", ":")),
    )


def _is_whole(records: Sequence[TrialRecord]) -> bool:
    """Whether these are rounds 1, 2, ... by one code on one machine, measured by one sweep."""
    kinds = set()
    for number, record in enumerate(records, start=1):
        if record.round != number:
            return False
        print_ = record.fingerprint
        kinds.add((print_.source, print_.environment, record.card, record.reused_from))
    return len(kinds) == 1


def _seconds(moment: str) -> float:
    try:
        return datetime.fromisoformat(moment).timestamp()
    except ValueError:
        return 0.0
