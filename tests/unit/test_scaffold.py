"""What `init` writes."""

import pytest

from orchestrator.cli import main
from orchestrator.cli.starter import init
from orchestrator.errors import RequestError
from orchestrator.plan.sweep import Sweep


def test_the_starter_sweep_is_valid_where_it_was_written(tmp_path):
    """It plans to its own implementation beside registered ones; every path in it is relative to it."""
    sweep_file, implementation = init(tmp_path / "new" / "folder")
    assert implementation.name == "my_attention.py"
    sweep = Sweep.load(sweep_file)
    assert {"my_attention", "standard"} <= {trial.implementation for trial in sweep.trials}


def test_init_says_what_to_do_next(tmp_path, monkeypatch, capsys):
    """The commands it prints are those that run the file it wrote."""
    monkeypatch.chdir(tmp_path)
    assert main.main(["init"]) == 0
    said = capsys.readouterr().out
    assert "python -m orchestrator sweep.yaml" in said
    assert main.main(["plan", "sweep.yaml"]) == 0


@pytest.mark.parametrize("name", ["sweep.yaml", "my_attention.py"])
def test_nothing_is_overwritten(tmp_path, name):
    """One file in the way is enough to write none."""
    (tmp_path / name).write_text("mine")
    with pytest.raises(RequestError, match=f"there is already .*{name}: name another folder"):
        init(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    """A file stands where the folder should."""
    (tmp_path / "file").write_text("")
    with pytest.raises(RequestError, match="cannot be written"):
        init(tmp_path / "file" / "inside")
