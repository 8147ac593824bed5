"""Keeps what rows of a finished sweep were seen to run: profiles.jsonl, a line for each profile."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from orchestrator.record import KernelShare, TrialRecord
from orchestrator.util.files import append_lines
from orchestrator.util.frozen_model import FrozenModel

FILE_NAME = "profiles.jsonl"
FOLDER = "profiles"  # of the traces, one a trial


class Profile(FrozenModel):
    """One call of a trial under a profiler.

    Attributes:
        trace: the file that Perfetto opens, from the sweep's directory; "": none.
        notes: what was not measured, and why.
        error: why there is no profile; "": there is one. One that failed says nothing of the trial,
            and an earlier one still counts.
        at: when, as `utc_now` writes it; "": not known.
    """

    trial_id: str
    kernels: tuple[KernelShare, ...] = ()
    trace: str = ""
    notes: tuple[str, ...] = ()
    error: str = ""
    at: str = ""


def trace_of(trial_id: str) -> str:
    """Where the trace of a trial is, from the sweep's directory."""
    return f"{FOLDER}/{trial_id}.json.gz"


def traces(directory: Path) -> list[Path]:
    """The traces that a sweep has."""
    return sorted((directory / FOLDER).glob("*.json.gz"))


def append(directory: Path, profile: Profile) -> None:
    """Keep a profile; of one trial the latest that did not fail counts."""
    append_lines(directory / FILE_NAME, [profile.model_dump_json()])


def read(directory: Path) -> dict[str, Profile]:
    """trial_id -> its latest profile that did not fail, without lines that cannot be read."""
    path = directory / FILE_NAME
    if not path.is_file():
        return {}
    found = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        with suppress(ValidationError):
            profile = Profile.model_validate_json(line)
            if not profile.error:
                found[profile.trial_id] = profile
    return found


def with_profiles(records: Sequence[TrialRecord], directory: Path) -> Iterable[TrialRecord]:
    """The records; those of a trial that was profiled later have its kernels."""
    known = read(directory)
    if not known:
        return records
    found = []
    for record in records:
        if record.trial_id in known:
            kernels = known[record.trial_id].kernels
            record = record.model_copy(update={"kernels": kernels})
        found.append(record)
    return found
