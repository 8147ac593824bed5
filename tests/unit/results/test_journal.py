"""The journal keeps what finished: torn lines, full disks, second drivers and later versions
included.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.errors import JournalError, SweepBusyError
from orchestrator.outcome import Outcome
from orchestrator.record import TrialRecord
from orchestrator.results import journal
from orchestrator.results.journal import FILE_NAME, LOCK_NAME, Journal
from tests.support import made, strategies

GOLDEN = Path(__file__).parents[2] / "golden" / "journal_schema_1"
TRIALS = made.trials(["standard"], {"batch": [1, 2, 4], "seq_len": [1024], "heads": [8]})
RECORDS = [made.ok(trial) for trial in TRIALS]


def kept(directory: Path) -> list[TrialRecord]:
    return list(journal.read(directory))


def test_what_is_appended_is_on_disk_at_once(tmp_path: Path) -> None:
    """Each record as one line, readable while the journal is open."""
    with Journal(tmp_path) as open_journal:
        for count, record in enumerate(RECORDS, start=1):
            open_journal.append(record)
            assert kept(tmp_path) == RECORDS[:count]
    assert (tmp_path / FILE_NAME).read_bytes().count(b"\n") == len(RECORDS)
    assert journal.count(tmp_path) == len(RECORDS)


def test_a_folder_without_a_journal_has_no_record(tmp_path: Path) -> None:
    """A sweep that was refused before its first attempt; a torn line counts for nothing."""
    assert journal.count(tmp_path) == 0
    (tmp_path / FILE_NAME).write_text(RECORDS[0].to_line())
    assert journal.count(tmp_path) == 0


def test_each_record_is_synced_before_append_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut after it loses nothing."""
    synced: list[bytes] = []

    def sync(descriptor: int) -> None:
        synced.append((tmp_path / FILE_NAME).read_bytes())

    with Journal(tmp_path) as open_journal:
        monkeypatch.setattr(os, "fsync", sync)
        open_journal.append(RECORDS[0])
    assert synced == [(RECORDS[0].to_line() + "\n").encode()]


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.lists(strategies.records(), min_size=1, max_size=4), st.data())
def test_a_torn_last_line_costs_that_line_only(
    tmp_path: Path, records: list[TrialRecord], data: st.DataObject
) -> None:
    """Wherever the driver was killed: at any byte of the file what came before is whole, and
    writing goes on.
    """
    lines = [(record.to_line() + "\n").encode() for record in records]
    whole = b"".join(lines)
    cut = data.draw(st.integers(0, len(whole)))
    (tmp_path / FILE_NAME).write_bytes(whole[:cut])
    finished = [line for at, line in enumerate(lines) if sum(map(len, lines[: at + 1])) <= cut]
    assert [record.to_line() for record in kept(tmp_path)] == [
        line.decode().rstrip("\n") for line in finished
    ]
    with Journal(tmp_path) as open_journal:
        assert len(open_journal.records) == len(finished)
        open_journal.append(RECORDS[0])
    assert (tmp_path / FILE_NAME).read_bytes() == b"".join(finished) + (
        RECORDS[0].to_line() + "\n"
    ).encode()


@contextmanager
def files_at_most(size: int) -> Iterator[None]:
    """The kernel refuses to let any file grow beyond `size` bytes: a full disk that needs no disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_fills_up_within_a_line_takes_the_line_back(tmp_path: Path) -> None:
    """The kernel writes the half that fits, then refuses; no half stays, and what came before does."""
    with Journal(tmp_path) as open_journal:
        open_journal.append(RECORDS[0])
        size = (tmp_path / FILE_NAME).stat().st_size
        with files_at_most(size + 100), pytest.raises(OSError, match="File too large"):
            open_journal.append(RECORDS[1])
        assert (tmp_path / FILE_NAME).stat().st_size == size
        open_journal.append(RECORDS[2])
        assert open_journal.records == [RECORDS[0], RECORDS[2]]
    assert kept(tmp_path) == [RECORDS[0], RECORDS[2]]


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()]
)
@pytest.mark.parametrize("call", ["write", "fsync"])
def test_whatever_interrupts_an_append_leaves_no_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, error: BaseException
) -> None:
    """A signal's exception, too: the next line must not be glued to it."""
    write = os.write

    def fail(descriptor: int, *data: bytes) -> int:
        if data:
            write(descriptor, data[0][:10])
        raise error

    with Journal(tmp_path) as open_journal:
        with monkeypatch.context() as patched:
            patched.setattr(os, call, fail)
            with pytest.raises(type(error)):
                open_journal.append(RECORDS[0])
        open_journal.append(RECORDS[1])
    assert kept(tmp_path) == [RECORDS[1]]


def test_a_second_driver_is_told_who_holds_the_sweep(tmp_path: Path) -> None:
    """By process id; the lock goes with the process that held it, however it ended."""
    code = f"import fcntl, os, time; f = open({str(tmp_path / LOCK_NAME)!r}, 'w'); fcntl.flock(f, fcntl.LOCK_EX)"
    code += "; f.write(str(os.getpid())); f.flush(); print('held', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(
            SweepBusyError, match=rf"another driver \(pid {holder.pid}\) is working on the sweep"
        ):
            Journal(tmp_path)
        assert (tmp_path / LOCK_NAME).read_text() == str(holder.pid)
        holder.kill()
    with Journal(tmp_path):
        assert (tmp_path / LOCK_NAME).read_text() == str(os.getpid())


def test_a_journal_that_cannot_be_read_is_left_unlocked(tmp_path: Path) -> None:
    """The user mends or moves it, and tries again."""
    (tmp_path / FILE_NAME).write_text("no record\n")
    with pytest.raises(JournalError, match=r"results\.jsonl:1: is not a record"):
        Journal(tmp_path)
    with (tmp_path / LOCK_NAME).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert (tmp_path / FILE_NAME).read_text() == "no record\n"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"schema_version": 2},
            "schema_version 2 is not known to this version, which reads up to 1",
        ),
        ({"schema_version": 0}, "schema_version 0 is not known"),
        ({"schema_version": None}, "schema_version None is not known"),
        ({"schema_version": True}, "schema_version True is not known"),
        ({"outcome": "splendid"}, "field outcome"),
        ({"unheard_of": 1}, "field unheard_of"),
        ({"round": "1"}, "field round"),
    ],
)
def test_a_line_that_this_version_cannot_read_is_named(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    """By file, line and field; nothing is guessed and nothing is dropped."""
    lines = [RECORDS[0].to_line(), json.dumps({**json.loads(RECORDS[1].to_line()), **change})]
    (tmp_path / FILE_NAME).write_text("".join(f"{line}\n" for line in lines))
    with pytest.raises(JournalError, match=message) as caught:
        kept(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / FILE_NAME}:2: ")


@pytest.mark.parametrize("line", [b"", b"[1]", b"3", b"\xff\xfe", b"{", b"null", b"\0" * 50])
def test_a_line_that_is_no_record_is_named(tmp_path: Path, line: bytes) -> None:
    """Damage before the last line is not ours to mend."""
    (tmp_path / FILE_NAME).write_bytes(line + b"\n" + RECORDS[0].to_line().encode() + b"\n")
    with pytest.raises(
        JournalError, match=r":1: is not a record: the file was changed by something else"
    ):
        kept(tmp_path)


def test_journals_of_schema_1_stay_readable() -> None:
    """Every outcome, as that version wrote it."""
    records = kept(GOLDEN)
    assert [record.outcome for record in records] == list(Outcome)
    assert records[0].metrics is not None
    assert records[0].metrics["latency_ms"] == 1.0
    assert [record.to_line() for record in records] == (GOLDEN / FILE_NAME).read_text().splitlines()


def test_a_single_file_is_read_as_well(tmp_path: Path) -> None:
    """As `compare` takes it."""
    path = tmp_path / "baseline.jsonl"
    path.write_text(RECORDS[0].to_line() + "\n")
    assert list(journal.read(path)) == RECORDS[:1]
