"""Files written whole or not at all."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

PACKAGE = Path(__file__).parents[1]  # of orchestrator itself, wherever a module of it lies

# A socket's path has at most 107 bytes, and Ray puts up to 64 below its temporary folder.
MAX_RAY_FOLDER_BYTES = 107 - 64


def _umask() -> int:
    """The process's mask, read without setting it: another thread may be making files just now."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("Umask:"):
            return int(line.split()[1], 8)
    return 0o077


def nearest_existing(path: Path) -> Path:
    """The path, or the nearest folder above it that exists: where it would be made."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path


def digest_of(files: Sequence[Path]) -> str:
    """A short hash of the files' names and contents; "" of none."""
    if not files:
        return ""
    parts = [f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in files]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def write_atomically(path: Path | str, text: str) -> None:
    """Write `text` to `path` as UTF-8, newlines as they are; see `write_bytes_atomically`."""
    write_bytes_atomically(path, text.encode("utf-8"))


def write_bytes_atomically(path: Path | str, data: bytes) -> None:
    """Write `data` to `path` in whole: a temporary file is written, synced, then renamed.

    A reader sees the old file or the new one, never a part. Missing parent folders are made.
    OSError when the disk is full or the folder cannot be written; then the old file is untouched
    and nothing is left behind.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(0o666 & ~_umask())  # mkstemp's 0600 would hide a report from the group
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(path.parent)


def append_lines(path: Path, lines: Iterable[str]) -> None:
    """Add lines to a file and wait until they are on disk; all of them, or none.

    A last line that was torn, when whoever wrote it was killed, is ended first, so that it costs
    itself alone.

    Raises:
        OSError: they cannot be written.
    """
    text = ""
    for line in lines:
        text += f"{line}\n"
    data = text.encode()
    with path.open("a+b", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        if size:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                data = b"\n" + data
        try:
            view = memoryview(data)
            while view:
                view = view[file.write(view) :]
            os.fsync(file.fileno())
        except BaseException:  # half a line would spoil the next one
            file.truncate(size)
            raise


def sync_folder(folder: Path) -> None:
    """Wait until a new file's entry is on disk: fsync of the file itself does not cover it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
