"""Writes and reads a sweep's directory, and names its files."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from orchestrator.errors import JournalError, RequestError, SweepNotFoundError
from orchestrator.machine.observation import Observation
from orchestrator.record import TrialRecord
from orchestrator.results import journal, profiles, proposals
from orchestrator.results.meta import SweepMeta
from orchestrator.results.results import Results
from orchestrator.util.credentials import without_credentials
from orchestrator.util.files import nearest_existing, write_atomically
from orchestrator.util.quantities import MIB

SWEEPS = Path("mlruns") / "sweeps"
SWEEP_FILE = "sweep.yaml"
META_FILE = "sweep.resolved.json"
ENVIRONMENT_FILE = "environment.json"
MACHINE_FILE = "machine.jsonl"
LOGS = "logs"
IMPORTED_FILE = "imported.json"  # of a sweep that was run elsewhere: where it came from, and when
MAX_LOG_BYTES = 16 * MIB


def new_sweep_id(now: datetime) -> str:
    """`<YYYYmmdd_HHMMSS>_<4 hex digits>`: sorts by time, and two sweeps of one second differ."""
    return f"{now:%Y%m%d_%H%M%S}_{secrets.token_hex(2)}"


def create(directory: Path, meta: SweepMeta, text: str) -> None:
    """Make the directory of a new sweep.

    Raises:
        RequestError: it holds a sweep already, or cannot be written.
    """
    refuse_taken(directory)
    try:
        (directory / LOGS).mkdir(parents=True, exist_ok=True)
        write_atomically(directory / SWEEP_FILE, without_credentials(text, meta.spec.tracking.uri))
        save_meta(directory, meta)
    except OSError as error:
        raise RequestError(
            f"{directory} cannot be written ({error.strerror}): name another --output"
        ) from None


def refuse_taken(directory: Path) -> None:
    """Refuse a directory for a new sweep that holds one already.

    Raises:
        RequestError: it does.
    """
    if (directory / META_FILE).exists():
        raise RequestError(
            f"{directory} holds a sweep already: go on with --resume, or name another --output"
        )


def save_meta(directory: Path, meta: SweepMeta) -> None:
    """Write sweep.resolved.json."""
    write_atomically(directory / META_FILE, meta.model_dump_json(indent=1) + "\n")


def save_plan(directory: Path, meta: SweepMeta, text: str) -> None:
    """Replace the plan: sweep.resolved.json, and sweep.yaml if `text` is not empty."""
    if text:
        write_atomically(directory / SWEEP_FILE, without_credentials(text, meta.spec.tracking.uri))
    save_meta(directory, meta)


def save_environments(directory: Path, environments: Mapping[str, Any]) -> None:
    """Write environment.json: fingerprint hash -> what must match and what to know."""
    write_atomically(
        directory / ENVIRONMENT_FILE,
        json.dumps(environments, indent=1, sort_keys=True, default=str) + "\n",
    )


def add_observations(directory: Path, observations: Iterable[Observation]) -> None:
    """Append to machine.jsonl what was seen of the machine."""
    with (directory / MACHINE_FILE).open("a") as file:
        file.writelines(f"{seen.model_dump_json()}\n" for seen in observations)


def save_log(directory: Path, trial_id: str, log: bytes, first: bool) -> None:
    """Write (`first`) or extend logs/<trial_id>.log, up to MAX_LOG_BYTES."""
    path = directory / LOGS / f"{trial_id}.log"
    with path.open("wb" if first else "ab") as file:
        room = MAX_LOG_BYTES - file.tell()
        if room > 0:
            file.write(log[-room:])  # the end of an attempt says most


def found_by(name: str, directory: Path) -> str:
    """The name by which `lookup.find` finds the sweep in `directory`: its id, else the directory.

    `name` is the sweep's. A directory given by --output may lie anywhere and be called anything.
    """
    if directory.resolve().parent == (SWEEPS / name).resolve():
        return directory.name
    return str(directory)


def load(directory: Path, records: Sequence[TrialRecord] | None = None) -> Results:
    """Everything that the sweep in `directory` left behind.

    Args:
        directory: of the sweep.
        records: of its journal, where it has been read already; None: read it.

    Raises:
        SweepNotFoundError: it holds no sweep.
        JournalError: its journal cannot be read.
    """
    meta = load_meta(directory)
    if records is None:
        records = ()
        if (directory / journal.FILE_NAME).exists():  # a sweep that no driver began has none
            records = tuple(journal.read(directory))
    return Results(
        meta,
        tuple(profiles.with_profiles(records, directory)),
        _environments(directory / ENVIRONMENT_FILE),
        directory,
        observations(directory),
    )


def load_meta(directory: Path) -> SweepMeta:
    """What the sweep in `directory` was asked; its journal is not read.

    Raises:
        SweepNotFoundError: it holds no sweep.
    """
    try:
        meta = SweepMeta.model_validate_json((directory / META_FILE).read_bytes())
    except FileNotFoundError:
        raise SweepNotFoundError(f"{directory} holds no sweep ({META_FILE} is missing)") from None
    except OSError as error:
        raise SweepNotFoundError(
            f"{directory / META_FILE} cannot be read ({error.strerror})"
        ) from None
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise SweepNotFoundError(f"{directory / META_FILE}: {field}: {first['msg']}") from None
    if meta.spec.proposes:
        meta = proposals.asked(meta, proposals.current(directory))
    return meta


def observations(directory: Path) -> tuple[Observation, ...]:
    """The observations, without unreadable lines: no figure of a row depends on them."""
    path = directory / MACHINE_FILE
    found = []
    if not path.exists():
        return ()
    for line in path.read_text(errors="replace").splitlines():
        with suppress(ValidationError):
            found.append(Observation.model_validate_json(line))
    return tuple(found)


def _environments(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        environments = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        environments = None
    if not isinstance(environments, dict) or not all(map(_is_described, environments.values())):
        raise JournalError(
            f"{path}: is not what a sweep writes: the file was changed by something else"
        )
    return environments


def _is_described(facts: Any) -> bool:
    """Whether these are the facts of an environment: what must match, and what to know."""
    if not isinstance(facts, dict):
        return False
    return isinstance(facts.get("match", {}), dict) and isinstance(facts.get("know", {}), dict)


def is_imported(directory: Path) -> bool:
    """Whether a sweep was run elsewhere and came by `import`."""
    return (directory / IMPORTED_FILE).exists()


def free_bytes(directory: Path) -> int:
    """Bytes free on the disk that holds (or will hold) the directory."""
    existing = nearest_existing(directory)
    return shutil.disk_usage(existing).free
