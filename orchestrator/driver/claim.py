"""The directory of the results of a sweep that is about to run."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from orchestrator.compare import duel
from orchestrator.driver import preflight
from orchestrator.errors import SweepNotFoundError, UnfitMachineError
from orchestrator.plan.sweep import Sweep
from orchestrator.results import journal, sweep_directory
from orchestrator.util.quantities import MIB

MIN_FREE_BYTES = 256 * MIB


def claimed(sweep: Sweep, output: str | Path | None, resuming: bool) -> Path:
    """The directory of the results: new, or one that no other driver is working in.

    Raises:
        RequestError: it is taken, cannot be written, or there is no sweep to resume.
        UnfitMachineError: its disk is full.
        SweepBusyError: another driver works in it.
    """
    directory = _directory(sweep, output, resuming)
    preflight.refuse_unwritable(directory)
    if resuming:
        journal.refuse_busy(directory)
    else:
        sweep_directory.refuse_taken(directory)
    _check_disk(directory)
    return directory


def _directory(sweep: Sweep, output: str | Path | None, resuming: bool) -> Path:
    """The one named, a new one, or the latest of this sweep's name that compares the same pair."""
    if output is not None:
        return Path(output)
    parent = sweep_directory.SWEEPS / sweep.spec.name
    if not resuming:
        return parent / sweep_directory.new_sweep_id(datetime.now())
    latest_first = sorted(parent.glob(f"*/{sweep_directory.META_FILE}"), reverse=True)
    for file in latest_first:  # their names begin with the time
        if duel.is_of(file.parent, sweep.duel):
            return file.parent
    raise SweepNotFoundError(
        f"no sweep named {sweep.spec.name!r} to resume under {parent}: run it without --resume"
    )


def _check_disk(directory: Path) -> None:
    free = sweep_directory.free_bytes(directory)
    if free < MIN_FREE_BYTES:
        raise UnfitMachineError(
            f"{directory}: {free / MIB:.0f} MiB free on its disk, a sweep needs "
            f"{MIN_FREE_BYTES / MIB:.0f}"
        )
