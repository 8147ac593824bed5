"""The shipped fake: a tracker that keeps what it is told, and fails when it is told to."""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.results.meta import SweepMeta
from orchestrator.results.results import Results
from orchestrator.results.rows import Row, rows
from orchestrator.trackers.base import Status


class MemoryTracker:
    """Fulfils Tracker in memory.

    Attributes:
        before: called with the name of each method before it does anything; may sleep or raise.
        calls: the methods that got through, in order.
        rows: trial_id -> the row as last logged.
        status: None until finished.
    """

    def __init__(self, before: Callable[[str], None] = lambda _: None) -> None:
        self.before = before
        self.calls: list[str] = []
        self.meta: SweepMeta | None = None
        self.rows: dict[str, Row] = {}
        self.status: Status | None = None
        self.closed = False

    def start(self, meta: SweepMeta) -> None:
        """Keep the sweep's meta data."""
        self._enter("start")
        self.meta = meta

    def log(self, row: Row) -> None:
        """Keep the row in place of the trial's earlier one."""
        self._enter("log")
        self.rows[row.trial_id] = row

    def finish(self, status: Status, results: Results) -> None:
        """Keep the status and every row that ran."""
        self._enter("finish")
        for row in rows(results.meta, results.records):
            if row.outcome is not None:
                self.rows[row.trial_id] = row
        self.status = status

    @property
    def tracked(self) -> None:
        """Nowhere."""
        return

    def close(self) -> None:
        """Note that the tracker was closed."""
        self.closed = True

    def _enter(self, call: str) -> None:
        self.before(call)
        self.calls.append(call)
