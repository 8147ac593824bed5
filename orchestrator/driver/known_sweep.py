"""A sweep of which every row is known: its table without an executor, so within a second or two."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.driver.reuse import Reuse, device_here, environments_here
from orchestrator.driver.runner import SweepRun
from orchestrator.driver.signals import Signals
from orchestrator.driver.stale import KnownSources
from orchestrator.errors import RequestError
from orchestrator.executors.base import Event, SlotReady
from orchestrator.plan.sweep import Sweep
from orchestrator.progress.live import Progress
from orchestrator.results import sweep_directory
from orchestrator.results.meta import SweepMeta
from orchestrator.results.results import Results
from orchestrator.trackers.background import (
    INTERRUPTED_FLUSH_S,
    TRACKING_FLUSH_S,
    BackgroundTracker,
)
from orchestrator.trackers.base import Tracker
from orchestrator.trial import Attempt


class NoExecutor:
    """The executor of a sweep that is wholly known: one slot, which never runs anything."""

    def __init__(self, device: str, environment: Mapping[str, Any]) -> None:
        self.device = device
        self._ready: list[Event] = [SlotReady(0, environment)]

    @property
    def slots(self) -> int:
        """Always one."""
        return 1

    @property
    def accelerators(self) -> tuple[str, ...]:
        """None: such a sweep is not told apart by models."""
        return ()

    def submit(self, attempt: Attempt) -> None:
        """Nothing is ever submitted.

        Raises:
            RequestError: something is.
        """
        raise RequestError(f"{attempt.trial.trial_id} is known no longer: run the sweep again")

    def poll(self, timeout_s: float) -> list[Event]:  # noqa: ARG002 - of the protocol
        """The slot, once."""
        events, self._ready = self._ready, []
        return events

    def cancel_queued(self) -> list[Attempt]:
        """Nothing is queued."""
        return []

    def conclude(self) -> list[Event]:
        """Nothing was measured."""
        return []

    def close(self) -> None:
        """Nothing is open."""


@dataclass(frozen=True)
class KnownSweep:
    """What answers for a sweep in place of the devices."""

    reuse: Reuse
    executor: NoExecutor


def look_up(sweep: Sweep, device: str, directory: Path) -> KnownSweep | None:
    """What answers a sweep of which every row is known on this machine; None: one is not.

    Args:
        sweep: what is asked for.
        device: "auto", "cpu" or "cuda".
        directory: of the sweep that asks.
    """
    if sweep.spec.proposes or sweep.spec.predict or sweep.duel is not None:
        return None
    kind = device_here(device)
    environments = environments_here(sweep, kind)
    if not environments:
        return None
    found = Reuse(sweep, kind, environments, KnownSources(sweep), directory)
    if all(found.hit(trial) for trial in sweep.trials):
        return KnownSweep(found, NoExecutor(kind, environments[0]))
    found.close()
    return None


def run(
    sweep: Sweep,
    meta: SweepMeta,
    directory: Path,
    known: KnownSweep,
    progress: Progress,
    make_tracker: Callable[[], Tracker],
    tell: Callable[[Results], None],
) -> Results:
    """Write the sweep's directory from what is known, tell the results, then have them tracked.

    MLflow waits until the results are told: importing it takes longer than all the rest.
    """
    told = threading.Event()

    def made() -> Tracker:
        told.wait()
        return make_tracker()

    target = sweep_directory.found_by(meta.name, directory)
    mirror = BackgroundTracker(made, progress.note, target=target)
    with Signals() as signals, ExitStack() as stack:
        stack.callback(progress.stop)
        stack.callback(mirror.close)
        stack.callback(told.set)
        found = SweepRun(
            sweep, meta, directory, known.executor, mirror, progress, signals, reuse=known.reuse
        ).run()
        tell(found)
        told.set()
        mirror.flush(TRACKING_FLUSH_S, INTERRUPTED_FLUSH_S, signals.have_come)
    return found
