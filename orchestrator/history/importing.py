"""Takes in sweeps that were run elsewhere: by their files alone, of which none is carried out."""

from __future__ import annotations

import json
import lzma
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import IO, Any

from orchestrator.errors import RequestError
from orchestrator.formatting import counted, printable
from orchestrator.history.reading import read_sweep
from orchestrator.results import journal, proposals, sources
from orchestrator.results.sweep_directory import (
    ENVIRONMENT_FILE,
    IMPORTED_FILE,
    MACHINE_FILE,
    META_FILE,
    SWEEP_FILE,
    SWEEPS,
)
from orchestrator.util.files import write_atomically
from orchestrator.util.quantities import MIB

FILES = (
    META_FILE, journal.FILE_NAME, ENVIRONMENT_FILE, SWEEP_FILE, MACHINE_FILE, sources.FILE_NAME,
    proposals.FILE_NAME,
)  # fmt: skip
MAX_FILE_BYTES = 1024 * MIB
MAX_FILES = 100_000
# What unpacking a file that is damaged, cut short or encrypted ends in.
NO_ARCHIVE = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, EOFError,
    RuntimeError, ValueError,
)  # fmt: skip
LONGEST_NAME = 255  # bytes of a folder's name that file systems take


@dataclass
class Imported:
    """What was found.

    Attributes:
        new: directories of the sweeps that were taken in.
        held: ids of those that are here already.
        refused: (where, why) of those that cannot be read.
    """

    new: list[Path] = field(default_factory=list)
    held: list[str] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)

    def lines(self) -> list[str]:
        """For a person."""
        found = []
        for directory in self.new:
            found.append(f"imported {directory}")
        for sweep_id in self.held:
            found.append(f"{printable(sweep_id)} is here already")
        for path, why in self.refused:
            found.append(f"not imported: {printable(path)}: {printable(why)}")
        found.append(f"{counted(len(self.new), 'sweep')} imported")
        return found


def import_sweeps(paths: Sequence[Path], folder: Path = SWEEPS) -> Imported:
    """Copy every sweep at these paths into the results folder.

    Only the files that a sweep is read from are taken, each by its name; a sweep that cannot be
    read, and one whose id is here already, is not.

    Args:
        paths: sweeps' directories, folders with some in them, or zip and tar files of one.
        folder: of the results.

    Raises:
        RequestError: there is no such path, nothing at it is a sweep, or none of it can be read.
    """
    found = Imported()
    for path in paths:
        with _unpacked(path) as place:
            directories = sorted({file.parent for file in place.rglob(META_FILE)})
            if not directories:
                raise RequestError(f"{path} holds no sweep: no {META_FILE} is in it")
            for directory in directories:
                _take(directory, path, folder, found)
    if found.refused and not found.new and not found.held:
        raise RequestError("; ".join(f"{path}: {why}" for path, why in found.refused))
    return found


def _take(directory: Path, given: Path, folder: Path, found: Imported) -> None:
    sweep = read_sweep(directory)
    if sweep.error is not None:
        found.refused.append((directory.name, sweep.error))
        return
    sweep_id, name = sweep.sweep_id, sweep.name
    for what, text in (("id", sweep_id), ("name", name)):
        if not _names_a_folder(text):
            found.refused.append((directory.name, f"{text!r} is not a sweep's {what}"))
            return
    target = folder / name / sweep_id
    if any(folder.glob(f"*/{sweep_id}/{META_FILE}")) or target.exists():
        found.held.append(sweep_id)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    # Renamed when it is whole: nobody sees a part of it.
    with tempfile.TemporaryDirectory(dir=folder, prefix=".import-") as place:
        made = Path(place) / sweep_id
        made.mkdir()
        for file in FILES:
            if (directory / file).is_file():
                shutil.copyfile(directory / file, made / file)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        facts = {"from": given.name, "at": now}
        write_atomically(made / IMPORTED_FILE, json.dumps(facts) + "\n")
        made.rename(target)
    found.new.append(target)


def _names_a_folder(text: str) -> bool:
    """Whether a text is one part of a path and no more, so that it cannot lead elsewhere."""
    is_one_part = "/" not in text and text.isprintable() and not text.startswith(".")
    return bool(text) and is_one_part and len(text.encode(errors="replace")) <= LONGEST_NAME


@contextmanager
def _unpacked(path: Path) -> Iterator[Path]:
    """The folder at a path, or one with what an archive holds of sweeps.

    Raises:
        RequestError: there is nothing, or it is neither.
    """
    if path.is_dir():
        yield path
        return
    if not path.is_file():
        raise RequestError(f"there is no {path}")
    with tempfile.TemporaryDirectory(prefix="orchestrator-import-") as place:
        try:
            if zipfile.is_zipfile(path):
                with zipfile.ZipFile(path) as archive:
                    _unzip(archive, Path(place))
            else:
                with tarfile.open(path) as archive:
                    _untar(archive, Path(place))
        except NO_ARCHIVE as error:
            raise RequestError(
                f"{path} is neither a folder nor a whole zip or tar file: {error}"
            ) from None
        yield Path(place)


def _unzip(archive: zipfile.ZipFile, place: Path) -> None:
    for info in _few(archive.infolist()):
        target = _target(info.filename, place)
        if target is not None and not info.is_dir():
            with archive.open(info) as source:
                _write(source, target)


def _untar(archive: tarfile.TarFile, place: Path) -> None:
    for member in _few(archive):
        target = _target(member.name, place)
        if target is None or not member.isfile():
            continue
        source = archive.extractfile(member)
        if source is not None:
            _write(source, target)
    # A compressed file's checksum stands behind the archive's last member.
    while archive.fileobj is not None and archive.fileobj.read(MIB):
        pass


def _few(members: Iterable[Any]) -> Iterator[Any]:
    """The members of an archive, refused beyond MAX_FILES: it may hold any number."""
    for count, member in enumerate(members):
        if count >= MAX_FILES:
            raise RequestError(f"the archive has more than {MAX_FILES} files")
        yield member


def _target(name: str, place: Path) -> Path | None:
    """Where a member is unpacked: below the folder whatever it is called; None: not wanted."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.name not in FILES:
        return None
    safe = [part for part in path.parts if part not in ("/", "..", ".")]
    return place.joinpath(*safe)


def _write(source: IO[bytes], target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    left = MAX_FILE_BYTES
    with target.open("wb") as file:
        while block := source.read(min(MIB, left + 1)):
            left -= len(block)
            if left < 0:
                raise RequestError(f"{target.name} in the archive is larger than 1 GiB")
            file.write(block)
