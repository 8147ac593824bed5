"""Sweeps that were run elsewhere are taken in by their files alone."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator import api
from orchestrator.errors import RequestError, SweepNotFoundError
from orchestrator.history.importing import import_sweeps
from orchestrator.history.index import Index
from orchestrator.history.timeline import history
from orchestrator.results import lookup, sweep_directory
from orchestrator.results.sweep_directory import IMPORTED_FILE, SWEEPS
from tests.support.swept import Store

Cli = Callable[..., Any]


@pytest.fixture
def elsewhere(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the results of two sweeps of another machine; none is left here."""
    store.sweep(device={"model": "another CPU"})
    store.sweep(device={"model": "another CPU"})
    folder = tmp_path_factory.mktemp("elsewhere")
    shutil.move(SWEEPS, folder / "sweeps")
    return folder / "sweeps"


def packed(folder: Path, kind: str) -> Path:
    """The folder as an archive."""
    return Path(shutil.make_archive(str(folder.parent / "artifact"), kind, folder))


@pytest.mark.parametrize("kind", ["folder", "zip", "tar", "gztar"])
def test_every_sweep_is_taken_in_once(elsewhere: Path, kind: str) -> None:
    """From a folder, or from what CI keeps; a second time nothing is."""
    path = elsewhere if kind == "folder" else packed(elsewhere, kind)
    found = import_sweeps([path])
    assert len(found.new) == 2
    assert all((directory / IMPORTED_FILE).exists() for directory in found.new)
    again = import_sweeps([path])
    assert (len(again.new), len(again.held)) == (0, 2)


def test_they_are_seen_and_never_stand_for_a_row_of_this_machine(
    elsewhere: Path, store: Store
) -> None:
    """History has them beside its own; reuse does not, and `last` is what was run here."""
    import_sweeps([elsewhere])
    own = store.sweep("reuse=true")
    assert [row.reused_from for row in own.rows] == ["", ""]
    with Index() as index:
        found = history(index)
    machines = {point.machine for point in found.rows[0].series.points}
    assert len(machines) == 2
    assert lookup.find("last").name == own.meta.sweep_id
    with pytest.raises(SweepNotFoundError, match="is the first sweep named"):
        lookup.before(lookup.find("last"))


def test_files_that_a_sweep_is_not_read_from_stay_outside(elsewhere: Path) -> None:
    """Whatever else is in the artifact."""
    directory = next(elsewhere.glob("*/*"))
    (directory / "matmul.py").write_text("raise SystemExit('it was run')")
    (directory / "logs" / "x.log").write_text("log")
    new = import_sweeps([elsewhere]).new
    assert not list(SWEEPS.rglob("matmul.py"))
    assert not list(SWEEPS.rglob("x.log"))
    assert len(new) == 2


def test_an_archive_writes_nothing_outside(
    elsewhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names that climb, absolute names and links."""
    unpacked = tmp_path / "climbed" / "to" / "here"  # whichever of these a name climbs to
    unpacked.mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(unpacked))
    meta = next(elsewhere.rglob("sweep.resolved.json")).read_bytes()
    archive = tmp_path / "evil.tar"
    with tarfile.open(archive, "w") as file:
        absolute = f"{tmp_path}/absolute/results.jsonl"
        for name in ("../../results.jsonl", absolute, "a/sweep.resolved.json"):
            info = tarfile.TarInfo(name)
            info.size = len(meta)
            file.addfile(info, io.BytesIO(meta))
        link = tarfile.TarInfo("a/results.jsonl")
        link.type, link.linkname = tarfile.SYMTYPE, str(archive)
        file.addfile(link)
    found = import_sweeps([archive])
    assert len(found.new) == 1
    assert not (found.new[0] / "results.jsonl").exists()
    assert not Path(absolute).exists()
    assert not list((tmp_path / "climbed").rglob("results.jsonl"))


@pytest.mark.parametrize("field", ["sweep_id", "name"])
@pytest.mark.parametrize("value", ["../../outside", "a/b", "", ".hidden", "..", "a\0b", "x" * 256])
def test_an_id_or_a_name_that_is_no_plain_folder_is_refused(
    elsewhere: Path, tmp_path: Path, field: str, value: str
) -> None:
    """It would name a folder outside of the results, or none."""
    for path in elsewhere.rglob("sweep.resolved.json"):
        content = json.loads(path.read_text())
        content[field] = value
        path.write_text(json.dumps(content))
    what = field.removeprefix("sweep_")
    with pytest.raises(RequestError, match=f"is not a sweep's {what}"):
        import_sweeps([elsewhere])
    assert not list(tmp_path.rglob("sweep.resolved.json"))


@pytest.mark.parametrize("content", [b"", b"no archive"])
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    """With its name."""
    path = tmp_path / "artifact"
    path.write_bytes(content)
    with pytest.raises(RequestError, match="artifact"):
        import_sweeps([path])


@pytest.mark.parametrize("kind", ["zip", "gztar", "bztar", "xztar"])
def test_a_damaged_archive_is_refused(elsewhere: Path, kind: str) -> None:
    """Whichever compression finds that its data are not whole."""
    path = packed(elsewhere, kind)
    content = bytearray(path.read_bytes())
    # Of a zip file, the data that follow a name; the others are compressed as a whole.
    at = content.index(b"sweep.resolved.json") + 40 if kind == "zip" else len(content) // 2
    content[at : at + 100] = b"\xff" * 100
    path.write_bytes(content)
    with pytest.raises(RequestError, match="is neither a folder nor a whole zip or tar file"):
        import_sweeps([path])
    assert not SWEEPS.exists()


def test_data_whose_checksum_is_another_are_refused(elsewhere: Path) -> None:
    """Though every member can be unpacked: the checksum stands behind the last."""
    path = packed(elsewhere, "gztar")
    content = bytearray(path.read_bytes())
    content[-8] ^= 0xFF  # the first byte of gzip's CRC-32
    path.write_bytes(content)
    with pytest.raises(RequestError, match="nor a whole zip or tar file: CRC check failed"):
        import_sweeps([path])


def test_a_sweep_that_the_index_cannot_read_is_refused(elsewhere: Path) -> None:
    """It would be a folder that `history` names as unreadable ever after."""
    for path in elsewhere.rglob("environment.json"):
        path.write_text('{"a": 1}')
    with pytest.raises(RequestError, match=r"environment\.json: is not what a sweep writes"):
        import_sweeps([elsewhere])
    assert not SWEEPS.exists()


def test_an_archive_without_a_sweep_is_refused(tmp_path: Path) -> None:
    """It says what is missing."""
    with zipfile.ZipFile(tmp_path / "empty.zip", "w") as file:
        file.writestr("notes.txt", "nothing")
    with pytest.raises(RequestError, match=r"no sweep\.resolved\.json"):
        import_sweeps([tmp_path / "empty.zip"])


def test_it_is_not_gone_on_with(elsewhere: Path, cli: Cli) -> None:
    """Its code is that of another machine."""
    directory = import_sweeps([elsewhere]).new[0]
    with pytest.raises(RequestError, match="was run elsewhere"):
        api.resume(str(directory))
    assert sweep_directory.load(directory).rows
    assert "imported" in cli("sweeps").out
    assert "an imported one is named by its id" in cli("report", "last").err
