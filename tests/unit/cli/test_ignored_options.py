"""An option that would do nothing is refused by name, instead of being passed over."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import RequestError
from orchestrator.results import choices, sweep_directory
from tests.support.driven import Driven
from tests.support.sweeps import sweep
from tests.unit.search.test_chosen import by_block

Cli = Callable[..., Any]


@pytest.mark.parametrize(
    ("typed", "named"),
    [
        ("report a b --export best.json", "--export goes with one sweep"),
        ("report a --by device --plots x", "--plots goes with one sweep"),
        ("report a --errors --format md", "--format does nothing with --errors"),
        ("report a --errors --sort time", "--sort does nothing with --errors"),
        ("report a --format md --columns time", "--columns is of the answer"),
        ("report a --full-grid --sort time", "--sort does nothing with --full-grid"),
        ("run x.yaml --json --columns time", "--columns is of the table"),
        ("resume a --json --full-grid", "--full-grid is of the table"),
        ("plan x.yaml --json --cost", "--cost is of the text"),
        ("list --json --explain", "--explain is of the text"),
        ("compare a b --again --same-machine", "--same-machine does nothing with --again"),
        ("compare a b --again --resume", "--resume does nothing with --again"),
        ("compare a b x.yaml --duel --same-machine", "--same-machine does nothing with --duel"),
        ("compare a b x.yaml --duel --same-code", "--same-code does nothing with --duel"),
        ("compare a b x.yaml --duel --again", "--again does nothing with --duel"),
        ("compare a b x.yaml --duel --force", "--force does nothing with --duel"),
        ("compare a b --device cpu", "--device is an option of run"),
        ("compare a b -S seed=1", "-S is an option of run"),
        ("try standard -S seed=1 --device cpu", "-S goes with a sweep file"),
        ("try x.yaml --workload y --device cpu", "--workload goes with an implementation"),
        ("try standard --sweep last --device cpu", "--sweep goes with the id of a row"),
        ("try 4ba9858e --only n==1 --device cpu", "--only narrows a sweep"),
    ],
)
def test_it_is_refused_before_anything_is_looked_for(cli: Cli, typed: str, named: str) -> None:
    """None of the sweeps and files that are named here is there."""
    said = cli(*typed.split())
    assert said.code == 2
    assert named in said.err


@pytest.fixture
def searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The results of a search."""
    axes = "{batch: [1], seq_len: [40], heads: [4], options.block: [2, 4]}"
    asked = sweep(axes=axes, implementations="[improved]", search="{strategy: random, samples: 2}")
    monkeypatch.chdir(tmp_path)
    return Driven(asked).drive(by_block).results()


def test_a_file_that_cannot_be_written_is_refused_before_the_sweep(
    searched: Any, tmp_path: Path
) -> None:
    """A folder, or a path below a file; a folder that is not there yet is made."""
    (tmp_path / "file").write_text("")
    spec = searched.meta.spec
    with pytest.raises(RequestError, match=r"is a folder: name a file in it"):
        choices.refuse(spec, str(tmp_path))
    with pytest.raises(RequestError, match=r"file/best\.json cannot be written: .*file is a file"):
        choices.refuse(spec, str(tmp_path / "file" / "best.json"))
    choices.refuse(spec, str(tmp_path / "new" / "best.json"))
    with pytest.raises(RequestError, match=r"best\.json cannot be written .*report .* --export"):
        choices.write(searched, str(tmp_path / "file" / "best.json"))


def test_the_answer_is_printed_before_the_file_is_written(
    searched: Any, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full by then costs the file alone."""
    directory = Path("mlruns/sweeps/tiny/one").absolute()
    made_in(directory, searched)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(choices, "write_atomically", full)
    said = cli("report", str(directory), "--export", "best.json")
    assert said.code == 2
    assert said.out.startswith("Benchmark Results")
    assert "best.json cannot be written (No space left on device)" in said.err
    monkeypatch.undo()
    monkeypatch.chdir(directory)
    assert cli("report", str(directory), "--export", "best.json").code == 0
    assert json.loads(Path("best.json").read_text())["name"] == "tiny"


def made_in(directory: Path, results: Any) -> Any:
    """The results with a directory of their own."""
    from orchestrator.results.journal import Journal

    sweep_directory.create(directory, results.meta, "")
    with Journal(directory) as journal:
        for record in results.records:
            journal.append(record)
    return sweep_directory.load(directory)
