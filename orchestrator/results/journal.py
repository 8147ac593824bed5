"""results.jsonl: one record a line, appended and synced to disk as it finishes, never rewritten."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from pydantic import ValidationError

from orchestrator.errors import JournalError, SweepBusyError
from orchestrator.record import SCHEMA_VERSION, TrialRecord
from orchestrator.util.files import sync_folder

FILE_NAME = "results.jsonl"
LOCK_NAME = ".lock"

Place = tuple[int, int]  # offset and length of a line in bytes


class Journal:
    """The open journal of a sweep directory; one driver at a time holds its lock.

    A torn last line (the driver was killed while it wrote) is cut off when the journal is opened:
    its attempt was never reported as finished, and is made again.

    Raises:
        SweepBusyError: another driver holds the lock.
        JournalError: an entry that cannot be read.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.path = directory / FILE_NAME
        self._lock = _lock(directory / LOCK_NAME)
        try:
            self.records: list[TrialRecord] = []
            if self.path.exists():
                data = self.path.read_bytes()
                self.records = [record for record, _ in _parsed(data, self.path)]
                os.truncate(self.path, data.rfind(b"\n") + 1)  # the last line may be torn
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        except BaseException:
            os.close(self._lock)
            raise
        sync_folder(directory)

    def append(self, record: TrialRecord) -> None:
        """Write one record and wait until it is on disk; remove a line that fails midway.

        It does not wait for a record that another sweep's journal holds already.

        Raises:
            OSError: the disk is full or gone; nothing of the record stays in the file.
        """
        line = (record.to_line() + "\n").encode()
        size = os.fstat(self._file).st_size
        try:
            view = memoryview(line)
            while view:
                view = view[os.write(self._file, view) :]
            if not record.reused_from:
                os.fsync(self._file)
        except BaseException:  # a signal's, too: half a line would spoil the next one
            os.ftruncate(self._file, size)
            raise
        self.records.append(record.model_copy(update={"environment": {}}))

    def close(self) -> None:
        """Close the file and release the lock."""
        for descriptor in (self._file, self._lock):
            os.close(descriptor)

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def refuse_busy(directory: Path) -> None:
    """Refuse a sweep that another driver works on, before anything is started.

    Raises:
        SweepBusyError: there is one.
    """
    if (directory / LOCK_NAME).exists():
        os.close(_lock(directory / LOCK_NAME))


def count(directory: Path) -> int:
    """How many records a sweep directory has, without reading what is in them; 0: no journal."""
    path = directory / FILE_NAME
    if not path.exists():
        return 0
    return path.read_bytes().count(b"\n")


def read(directory: Path) -> Iterator[TrialRecord]:
    """The records of a sweep directory (or of a results.jsonl), without a torn last line.

    Raises:
        JournalError: a line that is not a record of a known schema.
    """
    for record, _ in read_placed(directory):
        yield record


def read_placed(directory: Path) -> Iterator[tuple[TrialRecord, Place]]:
    """The same records, each with where its line is.

    Raises:
        JournalError: as by `read`.
    """
    path = directory if directory.is_file() else directory / FILE_NAME
    yield from _parsed(path.read_bytes(), path)


def _parsed(data: bytes, path: Path) -> Iterator[tuple[TrialRecord, Place]]:
    """The records of a journal's bytes, each with where its line is; `path` names them."""
    offset, number = 0, 1
    while (end := data.find(b"\n", offset)) >= 0:
        yield parse(data[offset:end], f"{path}:{number}"), (offset, end - offset)
        offset, number = end + 1, number + 1


def parse(line: bytes, place: str) -> TrialRecord:
    """One line of a journal; `place` names it in messages.

    Raises:
        JournalError: it is not a record of a schema this version knows.
    """
    try:
        record = TrialRecord.model_validate_json(line)
    except ValidationError as error:
        _check_version(line, place)
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise JournalError(f"{place}: field {field}: {first['msg']}") from None
    # without it the field's default would pass for a version
    if "schema_version" not in record.model_fields_set or not _is_known(record.schema_version):
        _check_version(line, place)
    return record


def _check_version(line: bytes, place: str) -> None:
    """Raise JournalError if a line is no JSON object, or of a schema that is not known."""
    try:
        version = json.loads(line).get("schema_version")
    except (ValueError, AttributeError):
        raise JournalError(
            f"{place}: is not a record: the file was changed by something else"
        ) from None
    if not _is_known(version):
        raise JournalError(
            f"{place}: schema_version {version} is not known to this version, "
            f"which reads up to {SCHEMA_VERSION}"
        )


def _is_known(version: object) -> bool:
    return type(version) is int and 1 <= version <= SCHEMA_VERSION  # a bool is an int, too


def _lock(path: Path) -> int:
    """A descriptor of the locked file; the kernel gives the lock back however this process ends."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(descriptor, 64).decode(errors="replace").strip() or "unknown"
        os.close(descriptor)
        raise SweepBusyError(
            f"another driver (pid {holder}) is working on the sweep in {path.parent}: "
            "wait for it, or stop it"
        ) from None
    os.ftruncate(descriptor, 0)
    os.write(descriptor, str(os.getpid()).encode())
    return descriptor
