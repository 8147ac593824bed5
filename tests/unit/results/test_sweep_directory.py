"""The directory that a sweep leaves behind: made once, found by id, `last` or path, and read back."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import pytest

from orchestrator.errors import JournalError, RequestError, SweepNotFoundError
from orchestrator.outcome import Outcome
from orchestrator.results import lookup, sources, sweep_directory
from orchestrator.results.journal import Journal
from orchestrator.results.results import Results
from tests.support import made

META = made.results(made.trials(["standard"], made.AXES), []).meta


def create(directory: Path, sweep_id: str = made.SWEEP_ID) -> Path:
    sweep_directory.create(
        directory, META.model_copy(update={"sweep_id": sweep_id}), "name: full\n"
    )
    return directory


def test_a_sweeps_id_sorts_by_time_and_is_its_own() -> None:
    """Two sweeps of one second differ."""
    one, other = (
        sweep_directory.new_sweep_id(datetime(2026, 11, 22, 9, 30, second)) for second in (0, 1)
    )
    assert one.startswith("20261122_093000_")
    assert one[:15] < other[:15]
    assert len({sweep_directory.new_sweep_id(datetime(2026, 11, 22)) for _ in range(20)}) > 15


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    """Meta data, records and environments; the file as the user wrote it."""
    directory = create(tmp_path / "a" / "b")
    record = made.ok(META.planned[0])
    with Journal(directory) as journal:
        journal.append(record)
    sweep_directory.save_environments(directory, {"e" * 16: made.ENVIRONMENT})
    found = sweep_directory.load(directory)
    assert found == Results(META, (record,), {"e" * 16: made.ENVIRONMENT}, directory)
    assert (directory / "sweep.yaml").read_text() == "name: full\n"
    assert json.loads((directory / "sweep.resolved.json").read_text())["spec"]["name"] == "full"


def test_a_directory_that_holds_a_sweep_is_not_taken_again(tmp_path: Path) -> None:
    """The user says --resume, or another place; a place that cannot be is refused as well."""
    create(tmp_path)
    with pytest.raises(
        RequestError, match="holds a sweep already: go on with --resume, or name another --output"
    ):
        create(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(RequestError, match=r"file cannot be written \(.*\): name another --output"):
        create(tmp_path / "file")
    with pytest.raises(RequestError, match="cannot be written"):
        create(tmp_path / "file" / "below")


def test_a_sweep_is_found_by_id_by_last_and_by_its_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory or its results.jsonl serve wherever an id does; `last` is the newest of all
    names.
    """
    monkeypatch.chdir(tmp_path)
    older = create(Path("mlruns/sweeps/zeta/20261121_000000_aaaa"))
    newer = create(Path("mlruns/sweeps/alpha/20261122_000000_bbbb"))
    elsewhere = create(tmp_path / "elsewhere")
    (elsewhere / "results.jsonl").touch()
    assert lookup.find("20261121_000000_aaaa") == older
    assert lookup.find("last") == newer
    assert lookup.find(str(elsewhere)) == lookup.find(str(elsewhere / "results.jsonl")) == elsewhere


@pytest.mark.parametrize(
    "name", ["", "20990101_000000_aaaa", "last", "/", "x" * 5000, "../..", "a\0b"]
)
def test_a_sweep_that_is_not_there_is_named(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what would serve, and the newest that exist."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        SweepNotFoundError, match=r"no sweeps under \./mlruns/sweeps: results are kept where"
    ):
        lookup.find(name)
    create(Path("mlruns/sweeps/full/20261122_000000_bbbb"))
    if name != "last":
        with pytest.raises(SweepNotFoundError, match=r"the newest here are 20261122_000000_bbbb "):
            lookup.find(name)


def test_a_sweep_file_is_not_a_sweep_that_was_run() -> None:
    """What `compare sweeps/quick.yaml last` means to say."""
    with pytest.raises(
        SweepNotFoundError,
        match=r"sweeps/quick.yaml is a sweep file.*: run it first, then give its id",
    ):
        lookup.find("sweeps/quick.yaml")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("sweep.resolved.json", "{", "sweep.resolved.json: : Invalid JSON"),
        ("sweep.resolved.json", "{}", "sweep.resolved.json: sweep_id: Field required"),
        ("environment.json", "{", "environment.json: is not what a sweep writes"),
        ("environment.json", "[]", "environment.json: is not what a sweep writes"),
        ("environment.json", '{"a": 1}', "environment.json: is not what a sweep writes"),
        ("environment.json", '{"a": {"match": 1}}', "environment.json: is not what a sweep"),
        ("environment.json", '{"a": {"know": []}}', "environment.json: is not what a sweep"),
        pytest.param(
            "environment.json", '{"a": ' * 100_000, "is not what a sweep writes", id="nested"
        ),
        ("results.jsonl", "x\n", "results.jsonl:1: is not a record"),
    ],
)
def test_a_file_that_something_else_changed_is_named(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    """Exit code 2 and no traceback."""
    create(tmp_path)
    (tmp_path / name).write_text(content)
    with pytest.raises((SweepNotFoundError, JournalError), match=message):
        sweep_directory.load(tmp_path)


def test_a_directory_without_a_sweep_says_so(tmp_path: Path) -> None:
    """Which file is missing."""
    with pytest.raises(
        SweepNotFoundError, match=r"holds no sweep \(sweep.resolved.json is missing\)"
    ):
        sweep_directory.load(tmp_path)
    (tmp_path / "sweep.resolved.json").mkdir()
    with pytest.raises(SweepNotFoundError, match=r"cannot be read \(Is a directory\)"):
        sweep_directory.load(tmp_path)


def test_the_log_of_a_trial_holds_all_its_attempts_up_to_its_cap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first attempt starts it afresh: what a killed driver had left there was reported nowhere."""
    create(tmp_path)
    monkeypatch.setattr(sweep_directory, "MAX_LOG_BYTES", 10)
    log = tmp_path / "logs" / "abc.log"
    sweep_directory.save_log(tmp_path, "abc", b"left over", first=True)
    sweep_directory.save_log(tmp_path, "abc", b"first.", first=True)
    sweep_directory.save_log(tmp_path, "abc", b"second", first=False)
    sweep_directory.save_log(tmp_path, "abc", b"third", first=False)
    assert log.read_bytes() == b"first.cond"


def test_free_space_is_that_of_the_disk_that_will_hold_the_directory(tmp_path: Path) -> None:
    """Also before it exists."""
    assert sweep_directory.free_bytes(tmp_path / "not" / "yet") > 0


def test_all_ok_counts_planned_trials_and_allowed_outcomes() -> None:
    """A trial that was not run is not ok; an outcome that the sweep allows is."""
    planned = made.trials(["standard"], made.AXES)
    records = [made.ok(trial) for trial in planned[1:]]
    assert not made.results(planned, records).all_ok
    assert made.results(planned, [*records, made.ok(planned[0])]).all_ok
    out_of_memory = [*records, made.bad(planned[0], Outcome.OOM)]
    assert not made.results(planned, out_of_memory).all_ok
    assert made.results(planned, out_of_memory, allow_outcomes=("oom",)).all_ok


def test_sources_that_something_else_changed_are_as_if_they_were_not_there(tmp_path: Path) -> None:
    """They only name what differs; what is left of them is read."""
    whole = {"files": {"a.py": "1"}, "packages": {}}
    held = {"a": 1, "b": {"files": []}, "c": whole, "d": {"imported": "x"}}
    (tmp_path / "sources.json").write_text(json.dumps(held))
    assert sources.read(tmp_path) == {"c": whole}
