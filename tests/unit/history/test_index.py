"""The index follows the journals, whatever happens to it or to them."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.errors import IndexDamagedError
from orchestrator.history import index as index_module
from orchestrator.history import reading
from orchestrator.history.index import FILE_NAME, Index, read_index
from orchestrator.history.reading import record_at
from orchestrator.results.sweep_directory import SWEEPS
from tests.support.swept import Store

FILE = SWEEPS / FILE_NAME


def damage_rows() -> None:
    """Spoil the page at which the table of rows begins; what opening reads stays whole."""
    with contextlib.closing(sqlite3.connect(FILE)) as held:
        (root,) = held.execute("SELECT rootpage FROM sqlite_master WHERE name = 'row'").fetchone()
        (size,) = held.execute("PRAGMA page_size").fetchone()
    with FILE.open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xff" * size)


def places(index: Index) -> list[str]:
    """Of every row; it reads the whole table."""
    return [places for (places,) in index.select("SELECT places FROM row")]


def content() -> list[tuple[object, ...]]:
    """(sweep, trial, outcome) of every row, as the index has it now."""
    with Index() as index:
        words = index.words()
        lines = index.select(
            "SELECT sweep_id, trial_id, outcome, figures FROM row "
            "JOIN sweep ON sweep.number = row.sweep JOIN trial ON trial.number = row.trial "
            "ORDER BY sweep_id, trial_id"
        )
        return [(sweep, trial, words[outcome], figures) for sweep, trial, outcome, figures in lines]


def test_it_has_every_row_that_ran_of_every_sweep(store: Store) -> None:
    """Of two sweeps of two rows, four."""
    both = [store.sweep(), store.sweep("implementations=[./matmul.py:raises]")]
    expected = [
        (found.meta.sweep_id, row.trial_id, row.outcome)
        for found in both
        for row in sorted(found.rows, key=lambda row: row.trial_id)
    ]
    assert [line[:3] for line in content()] == expected


def test_a_place_leads_to_the_record(store: Store) -> None:
    """By offset and length, the very record that the journal has."""
    found = store.sweep("measure.repeats=2")
    with Index() as index:
        (places,) = index.select("SELECT places FROM row WHERE trial = 1")[0]
    assert found.directory is not None
    pairs = [tuple(map(int, pair.split(","))) for pair in places.strip("[]").split("],[")]
    kept = [record_at(found.directory, (pair[0], pair[1])) for pair in pairs]
    assert [record.round for record in kept] == [1, 2]
    assert len({record.trial_id for record in kept}) == 1


def test_a_sweep_that_comes_goes_or_grows_is_seen(store: Store) -> None:
    """Nothing has to be told that a journal changed."""
    first = store.sweep()
    assert len(content()) == 2
    second = store.sweep()
    assert len(content()) == 4
    shutil.rmtree(first.directory or "")
    assert {line[0] for line in content()} == {second.meta.sweep_id}
    journal = (second.directory or Path()) / "results.jsonl"
    journal.write_bytes(journal.read_bytes().splitlines(keepends=True)[0])
    assert len(content()) == 1


@pytest.mark.parametrize("damage", [b"", b"no database at all", b"SQLite format 3\0 and then not"])
def test_a_damaged_index_is_made_anew_in_silence(
    store: Store, damage: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever the file holds."""
    store.sweep()
    before = content()
    FILE.write_bytes(damage)
    assert content() == before
    assert capsys.readouterr().err == ""


def test_damage_that_is_found_while_it_is_read_is_mended_once(store: Store) -> None:
    """What was asked is asked again of the index that was made anew."""
    store.sweep()
    before = read_index(places)
    damage_rows()
    assert read_index(places) == before != []


def test_damage_that_comes_back_is_an_error_that_names_the_file(store: Store) -> None:
    """No traceback of the data base: the disk is at fault, and the reader is told."""
    store.sweep()

    def spoiled(_index: Index) -> list[str]:
        damage_rows()
        with Index() as fresh:  # the one that has just been made still has its pages in memory
            return places(fresh)

    with pytest.raises(IndexDamagedError, match=rf"{FILE_NAME} is damaged .*remove it"):
        read_index(spoiled)


def test_a_sweep_that_comes_while_another_process_holds_the_lock_stays(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is on disk is looked at under the lock: the other's newer sweep is not removed."""
    store.sweep()
    locked = index_module._locked

    @contextlib.contextmanager
    def taken_late(path: Path) -> Iterator[None]:
        monkeypatch.setattr(index_module, "_locked", locked)
        store.sweep()
        Index().close()
        with locked(path):
            yield

    monkeypatch.setattr(index_module, "_locked", taken_late)
    with Index() as index:
        assert len(index.sweeps()) == 2


def test_a_reader_sees_one_moment(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that would change the file beside it waits, or works in memory."""
    store.sweep()
    with Index() as index, index.as_of_now():
        before = places(index)
        store.sweep()
        monkeypatch.setattr(index_module, "WAIT_S", 0.0)
        with Index() as other:
            assert len(places(other)) == 4
        assert places(index) == before
    assert len(read_index(places)) == 4


def test_a_sweep_that_is_read_again_takes_no_number_that_another_had(store: Store) -> None:
    """Whoever holds numbers from before finds nothing by them, instead of another sweep's rows."""
    first, second = store.sweep(), store.sweep()
    with Index() as index:
        held = index.sweeps()
    for found in (second, first):
        os.utime((found.directory or Path()) / "results.jsonl", ns=(1, 1))
    with Index() as index:
        assert held.keys().isdisjoint(index.sweeps())


def test_an_index_of_another_version_is_made_anew(store: Store) -> None:
    """Its tables are not read."""
    store.sweep()
    before = content()
    with contextlib.closing(sqlite3.connect(FILE)) as held:
        held.execute("UPDATE row SET figures = 'of another version'")
        held.execute("PRAGMA user_version = 999")
        held.commit()
    assert content() == before


def test_a_sweep_that_cannot_be_read_hides_no_other(store: Store) -> None:
    """It is listed with its reason."""
    broken, _ = store.sweep(), store.sweep()
    ((broken.directory or Path()) / "results.jsonl").write_text("no record\n")
    assert len(content()) == 2
    with Index() as index:
        ((path, reason),) = index.unreadable()
    assert path.endswith(broken.meta.sweep_id)
    assert "is not a record" in reason


def test_whatever_is_wrong_with_a_sweep_is_a_reason_and_no_traceback(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files that others wrote may be wrong in ways that no check foresaw."""
    store.sweep()

    def torn(_found: object) -> None:
        raise AttributeError("'int' object has no attribute 'get'")

    monkeypatch.setattr(reading, "_controls", torn)
    with Index() as index:
        ((_, reason),) = index.unreadable()
    assert "its files are not what a sweep writes" in reason


def test_a_folder_that_cannot_be_written_is_read_all_the_same(store: Store) -> None:
    """The index is then in memory alone."""
    store.sweep()
    FILE.unlink(missing_ok=True)
    FILE.mkdir()  # no file can be made under that name, by root either
    assert len(content()) == 2


@pytest.mark.slow
def test_two_that_make_it_at_once_both_have_it(store: Store) -> None:
    """Four processes start with no index, and each sees every row."""
    store.sweep()
    FILE.unlink(missing_ok=True)
    code = (
        "from orchestrator.history.index import Index\n"
        "print(Index().select('SELECT count(*) FROM row')[0][0])"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    assert [process.communicate(timeout=280)[0].strip() for process in processes] == ["2"] * 4
