"""Sweeps are found by whatever a person calls them; what is not found is said with what is near."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.cli import sweeps
from orchestrator.errors import RequestError, SweepNotFoundError
from orchestrator.outcome import Outcome
from orchestrator.results import lookup, sweep_directory
from orchestrator.results.journal import Journal
from tests.support import made

AXES = {"batch": [1, 2], "seq_len": [128], "heads": [8]}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three sweeps: two named `full`, one named `quick` between them."""
    monkeypatch.chdir(tmp_path)
    for name, sweep_id in (
        ("full", "20261101_000000_aaaa"),
        ("quick", "20261102_000000_bbbb"),
        ("full", "20261103_000000_cccc"),
    ):
        swept(name, sweep_id)
    return tmp_path


def swept(name: str, sweep_id: str) -> Path:
    """A sweep of two rows, one of them wrong, on the disk."""
    planned = made.trials(["standard"], AXES, dtype="float32")
    meta = made.results(planned, [], axes=AXES).meta.model_copy(
        update={"name": name, "sweep_id": sweep_id}
    )
    directory = sweep_directory.SWEEPS / name / sweep_id
    sweep_directory.create(directory, meta, "name: x\n")
    with Journal(directory) as journal:
        journal.append(made.ok(planned[0], sweep_id=sweep_id))
        journal.append(made.bad(planned[1], Outcome.MISMATCH, sweep_id=sweep_id))
    know = {"match": {"model": "NVIDIA H100"}, "know": {"git_commit": "0123456789abcdef"}}
    sweep_directory.save_environments(directory, {"e" * 16: know})
    return directory


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(
    ("name", "sweep_id"),
    [
        ("last", "20261103_000000_cccc"),
        ("last~0", "20261103_000000_cccc"),
        ("last~1", "20261102_000000_bbbb"),
        ("last~2", "20261101_000000_aaaa"),
        ("full", "20261103_000000_cccc"),
        ("quick", "20261102_000000_bbbb"),
        ("mlruns/sweeps/full", "20261103_000000_cccc"),
        ("20261101_000000_aaaa", "20261101_000000_aaaa"),
        ("mlruns/sweeps/quick/20261102_000000_bbbb", "20261102_000000_bbbb"),
        ("mlruns/sweeps/quick/20261102_000000_bbbb/results.jsonl", "20261102_000000_bbbb"),
    ],
)
def test_a_sweep_is_found_by(name: str, sweep_id: str) -> None:
    """By `last` and those before it, by name, by id, by folder."""
    assert lookup.find(name).name == sweep_id


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("last~3", "3 sweeps under"),
        ("quik", "did you mean 'quick'"),
        ("20261103_000000_cccd", "did you mean '20261103_000000_cccc'"),
        ("sweeps/full.yaml", "is a sweep file"),
        ("x" * 5000, "no sweep"),
    ],
)
def test_a_sweep_that_is_not_there_is_named_with_what_is_near(name: str, said: str) -> None:
    """And with the command that lists them."""
    with pytest.raises(SweepNotFoundError, match=said):
        lookup.find(name)


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("name", ["full", "mlruns/sweeps/full"])
def test_a_name_means_what_was_run_here_before_what_was_imported(name: str) -> None:
    """As `last` does; where all of the name came from elsewhere, the newest of those."""
    newer = sweep_directory.SWEEPS / "full" / "20261103_000000_cccc"
    (newer / sweep_directory.IMPORTED_FILE).write_text("{}")
    assert lookup.find(name).name == "20261101_000000_aaaa"
    assert lookup.find(newer.name) == newer
    (newer.parent / "20261101_000000_aaaa" / sweep_directory.IMPORTED_FILE).write_text("{}")
    assert lookup.find(name).name == newer.name


def test_in_a_folder_without_sweeps_last_says_where_it_looked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not "no sweep 'last': give ... `last`"."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        SweepNotFoundError, match=r"no sweeps under \./mlruns/sweeps: results are kept where"
    ):
        lookup.find("last")


@pytest.mark.usefixtures("place")
def test_the_sweep_before_is_the_one_of_the_same_name() -> None:
    """Not the one that was run in between."""
    assert lookup.before(lookup.find("last")).name == "20261101_000000_aaaa"
    with pytest.raises(SweepNotFoundError, match="is the first sweep named 'quick'"):
        lookup.before(lookup.find("quick"))


@pytest.mark.usefixtures("place")
def test_a_trial_is_found_by_the_first_digits_of_its_id_in_the_newest_sweep() -> None:
    """Or in the sweep that is named."""
    wanted = made.trials(["standard"], AXES, dtype="float32")[1]
    results, found = lookup.trial(wanted.trial_id[:8])
    assert (found, results.meta.sweep_id) == (wanted, "20261103_000000_cccc")
    assert lookup.trial(wanted.trial_id, "quick")[0].meta.name == "quick"
    with pytest.raises(SweepNotFoundError, match="no trial 0123456789 in 3 sweeps"):
        lookup.trial("0123456789")


@pytest.mark.usefixtures("place")
def test_a_trial_id_that_stands_for_several_trials_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A guess could run another row."""
    monkeypatch.setattr(lookup, "SHORTEST_ID", 0)
    with pytest.raises(RequestError, match="stands for 2 trials"):
        lookup.trial("")


@pytest.mark.usefixtures("place")
def test_a_damaged_sweep_does_not_hide_the_others() -> None:
    """Neither from the search for a trial nor from the list."""
    wanted = made.trials(["standard"], AXES, dtype="float32")[0]
    (lookup.find("last") / sweep_directory.META_FILE).write_text("{}")
    assert lookup.trial(wanted.trial_id)[0].meta.name == "quick"
    assert "error" in sweeps.as_objects()[0]
    assert "20261101_000000_aaaa" in sweeps.as_text()


@pytest.mark.usefixtures("place")
def test_sweeps_lists_id_name_rows_device_and_commit_the_newest_last() -> None:
    """Each with what `report` and `compare` call it."""
    lines = sweeps.as_text().splitlines()
    assert lines[-1].split() == [
        "20261103_000000_cccc", "full", "11-22", "09:30", "✓", "1", "✗", "1", "NVIDIA", "H100", "0123456", "last",
    ]  # fmt: skip
    assert lines[-2].endswith("last~1")
    assert [item["sweep_id"] for item in sweeps.as_objects("full", 1)] == ["20261103_000000_cccc"]
    assert "(2 older: --all)" in sweeps.as_text(limit=1)


def test_sweeps_in_an_empty_folder_says_where_it_looked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No traceback and no empty table."""
    monkeypatch.chdir(tmp_path)
    assert sweeps.as_text().startswith("no sweeps under ./mlruns/sweeps")
