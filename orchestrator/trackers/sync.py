"""Rebuilds the runs of a sweep from its journal. mlflow is imported when a function is called."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.results.meta import SweepMeta
from orchestrator.results.results import Results
from orchestrator.results.rows import rows
from orchestrator.trackers.address import view_url, with_login
from orchestrator.trackers.base import Status, TrackingError
from orchestrator.util.credentials import redacted


@dataclass(frozen=True)
class SyncReport:
    """How many runs, the sweep's own included, a sync made, changed and found as they should be."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0


def sync(
    results: Results, uri: str | None, note: Callable[[str], None] = lambda _: None
) -> SyncReport:
    """Bring a sweep's runs on any server to the state of its journal, as a live run leaves them.

    A second sync changes nothing. uri None: sqlite under mlruns/ of the current directory; `note`
    is told what is done, for a person to read.

    Raises:
        TrackingError: the server does not answer, or refuses.
    """
    from orchestrator.trackers.mlflow import MlflowTracker

    tracker = MlflowTracker(uri)
    try:
        tracker.open(results.meta)
        trials = f"{len(results.meta.planned)} trials of sweep {results.meta.sweep_id}"
        note(f"{trials} to {redacted(tracker.uri)}")
        tracker.finish(_status_of(results, tracker.status), results)
    finally:
        tracker.close()
    return SyncReport(**tracker.changes)


def url(meta: SweepMeta, uri: str | None) -> str:
    """The address of this sweep's trials in the UI; of a store without a server, by `make ui`.

    Raises:
        TrackingError: the server does not answer, or does not know the experiment.
    """
    from orchestrator.trackers.mlflow_store import experiment_id

    uri = with_login(uri)
    found = experiment_id(uri, meta.name)
    if found is None:
        raise TrackingError(
            f"{redacted(uri)} has no experiment {meta.name!r}: sync {meta.sweep_id} writes it"
        )
    return view_url(uri, found, meta.sweep_id)


def _status_of(results: Results, held: str) -> Status:
    """FINISHED if every round of every trial has a record; else the last status, or KILLED."""
    repeats = results.meta.spec.measure.repeats
    if all(len(row.records) >= repeats for row in rows(results.meta, results.records)):
        return "FINISHED"
    if held == "FAILED":
        return "FAILED"
    return "KILLED"
