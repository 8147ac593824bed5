"""The index follows the journals, whatever happens to it or to them."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.history import reading
from orchestrator.history.index import FILE_NAME, Index
from orchestrator.history.reading import record_at
from orchestrator.results.sweep_directory import SWEEPS
from tests.support.swept import Store

FILE = SWEEPS / FILE_NAME


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
    assert "is no record" in reason


def test_whatever_is_wrong_with_a_sweep_is_a_reason_and_no_traceback(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files that others wrote may be wrong in ways that no check foresaw."""
    store.sweep()

    def torn(_found: object) -> None:
        raise AttributeError("'int' object has no attribute 'get'")

    monkeypatch.setattr(reading, "_environments", torn)
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
