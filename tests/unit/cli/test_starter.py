"""What `init` writes."""

import pytest

from orchestrator.cli import main
from orchestrator.cli.starter import init
from orchestrator.errors import RequestError
from orchestrator.plan.sweep import Sweep
from orchestrator.usercode.workload_check import problems


def test_the_starter_sweep_is_valid_where_it_was_written(tmp_path):
    """It plans to its own implementation beside registered ones; every path in it is relative to
    it.
    """
    sweep_file, implementation = init(tmp_path / "new" / "folder")
    assert implementation.name == "my_attention.py"
    sweep = Sweep.load(sweep_file)
    assert {"my_attention", "standard"} <= {trial.implementation for trial in sweep.trials}


def test_init_says_what_to_do_next(tmp_path, monkeypatch, capsys):
    """The commands it prints are those that run the file it wrote."""
    monkeypatch.chdir(tmp_path)
    assert main.main(["init"]) == 0
    said = capsys.readouterr().out
    assert "orchestrator sweep.yaml" in said
    assert main.main(["plan", "sweep.yaml"]) == 0


@pytest.mark.parametrize("name", ["sweep.yaml", "my_attention.py"])
def test_nothing_is_overwritten(tmp_path, name):
    """One file in the way is enough to write none."""
    (tmp_path / name).write_text("mine")
    with pytest.raises(RequestError, match=f"{name}: already there.*name another folder"):
        init(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    """A file stands where the folder should."""
    (tmp_path / "file").write_text("")
    with pytest.raises(RequestError, match="cannot be written"):
        init(tmp_path / "file" / "inside")


def test_a_starter_of_a_workload_is_sound_and_is_what_its_comments_say(tmp_path):
    """It plans, its workload has nothing wrong with it, and of its implementations the last is
    wrong.
    """
    sweep_file, module = init(tmp_path, "my_op")
    assert [path.name for path in (sweep_file, module)] == ["my_op.yaml", "my_op.py"]
    sweep = Sweep.load(sweep_file)
    assert [entry.label for entry in sweep.spec.implementations] == [
        "torch:softmax", "my_op:two_passes", "my_op:half_sums",
    ]  # fmt: skip
    assert problems(sweep.workload, sweep.params(sweep.trials[0]), "cpu") == []


def test_the_name_of_a_workload_is_one_of_a_python_file(tmp_path):
    """It becomes one."""
    with pytest.raises(RequestError, match="--workload: must be a name of letters"):
        init(tmp_path, "my-op")


@pytest.mark.parametrize("name", ["torch", "json", "class"])
def test_a_starter_hides_no_module(tmp_path, name):
    """From the folder that it lies in `import torch` would find it."""
    with pytest.raises(RequestError, match=f"which {name}.py would hide: .* my_{name}"):
        init(tmp_path, name)
    assert list(tmp_path.iterdir()) == []
