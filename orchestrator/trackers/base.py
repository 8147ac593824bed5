"""The protocol between the runner and a tracking server."""

from __future__ import annotations

from typing import Literal, Protocol

from orchestrator.errors import AbortedError
from orchestrator.results.meta import SweepMeta, Tracked
from orchestrator.results.results import Results
from orchestrator.results.rows import Row

Status = Literal["FINISHED", "FAILED", "KILLED"]


class TrackingError(AbortedError):
    """Tracking does not answer, or is full: the same call may succeed later."""


class RejectedError(TrackingError):
    """Tracking answers and refuses this call: trying again is no use."""


class Tracker(Protocol):
    """Mirrors one sweep, each trial as one run.

    What it keeps is keyed by sweep_id and trial_id, so that every call may be made again: after it
        raised, after a
    crash of the driver, on resume. The last call about a trial wins; none makes a second run.

    Each method but close raises TrackingError when it could not be carried out.
    """

    def start(self, meta: SweepMeta) -> None:
        """Open the sweep's run, or the one that an earlier driver left."""
        ...

    def log(self, row: Row) -> None:
        """Show one trial as it stands: all rounds and attempts so far, pooled into one run."""
        ...

    def finish(self, status: Status, results: Results) -> None:
        """Close the sweep's run, completing every row that `log` has not shown."""
        ...

    @property
    def tracked(self) -> Tracked | None:
        """The address of this sweep's runs; None: none, or not yet."""
        ...

    def close(self) -> None:
        """Close files and connections; raises nothing."""
        ...
