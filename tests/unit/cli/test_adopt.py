"""What `adopt` writes is a sweep that can be planned, or nothing, with the reason."""

import json
from pathlib import Path

import pytest

from orchestrator.cli.adopt import adopt
from orchestrator.cli.main import main
from orchestrator.errors import RequestError
from orchestrator.plan.sweep import Sweep
from orchestrator.usercode import workloads

PROBLEM = """
import torch
class Model(torch.nn.Module):
    def forward(self, x): return x + 1
def get_inputs(): return [torch.randn(4)]
def get_init_inputs(): return []
"""
ANSWER = PROBLEM.replace("class Model(", "class ModelNew(")
DEFINITION = {
    "name": "twice",
    "axes": {"n": {"type": "var"}},
    "inputs": {"x": {"shape": ["n"], "dtype": "float32"}},
    "outputs": {"y": {"shape": ["n"], "dtype": "float32"}},
    "reference": "def run(x):\n    return x * 2\n",
}
TASK = 'lang: "py"\nbenchmarks:\n  - {"size": 64, "seed": 2}\n'
REFERENCE = "def generate_input(size, seed): ...\ndef ref_kernel(data): ...\n"


def labels_of(file: Path) -> list[str]:
    return [entry.label for entry in Sweep.load(file).spec.implementations]


def test_folders_whose_names_make_one_label_have_two(tmp_path: Path) -> None:
    """Also where one is called as the entries that adopt adds; none is longer than a label may be."""
    (tmp_path / "1_plus.py").write_text(PROBLEM)
    long = "x" * 80
    for name in ("a/b", "a-b", "torch", f"{long}1", f"{long}2"):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        (folder / "1_plus.py").write_text(ANSWER)
    found = labels_of(adopt(tmp_path)[0])
    assert {"torch", "torch-2", "a-b", "a-b-2", long[:64], f"{long[:62]}-2"} < set(found)


def test_the_commands_that_follow_can_be_pasted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where a path has a space, too."""
    folder = tmp_path / "my problems"
    folder.mkdir()
    (folder / "1_plus.py").write_text(PROBLEM)
    assert main(["adopt", str(folder)]) == 0
    assert f"orchestrator plan '{folder}/sweep.yaml'" in capsys.readouterr().out


def test_what_cannot_be_read_below_is_said(tmp_path: Path) -> None:
    """Beside what can be adopted, or instead of it."""
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "task.yml").write_text("lang: [py\n")
    with pytest.raises(RequestError, match=r"broken/task\.yml:2: file: does not parse as YAML"):
        adopt(tmp_path)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1_plus.py").write_text(PROBLEM)
    with pytest.raises(RequestError) as refused:
        adopt(tmp_path)
    assert "holds problems in 2 places" in str(refused.value)
    assert f"cannot be read: {broken}/task.yml:2" in str(refused.value)


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ("- a\n", "must be a mapping of fields such as files, lang, tests, benchmarks"),
        ("files: reference.py\n", 'task.yml: files: must be a list, found "reference.py"'),
        ("files: [{name: reference.py}]\n", "files[0].source: required, and not given"),
        ("benchmarks: [5]\n", "task.yml: benchmarks[0]: must be a mapping, found 5"),
        ("lang: py\n", "states neither benchmarks nor tests"),
        (
            "tests: [{sise: 5}]\n",
            "tests[0].sise: generate_input takes no sise (did you mean 'size'?)",
        ),
    ],
)
def test_a_task_that_states_something_else_is_named(tmp_path: Path, task: str, said: str) -> None:
    """By file, field, rule and value; no sweep is written."""
    (tmp_path / "task.yml").write_text(task)
    (tmp_path / "reference.py").write_text(REFERENCE)
    with pytest.raises(RequestError) as refused:
        adopt(tmp_path)
    assert said in str(refused.value)
    assert not (tmp_path / "sweep.yaml").exists()


def test_a_submission_that_does_not_parse_is_left_out(tmp_path: Path) -> None:
    """By name; the others are adopted."""
    (tmp_path / "task.yml").write_text(TASK)
    (tmp_path / "reference.py").write_text(REFERENCE)
    (tmp_path / "good.py").write_text("def custom_kernel(data): ...\n")
    (tmp_path / "bad.py").write_text("def custom_kernel(data:\n")
    file, said = adopt(tmp_path)
    assert f"left out: {tmp_path}/bad.py does not parse as Python on line 1" in said
    assert labels_of(file) == ["reference", "good"]


def test_a_task_whose_reference_is_missing_is_named(tmp_path: Path) -> None:
    """As the file that is not there."""
    (tmp_path / "task.yml").write_text(TASK)
    with pytest.raises(RequestError, match=r"there is no .*reference\.py"):
        adopt(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": 5}, "twice.json: name: must be a string, found 5"),
        (
            {"inputs": {"x": {"shape": "n", "dtype": "float32"}}},
            'inputs.x.shape: must be a list, found "n"',
        ),
        ({"outputs": {"y": {"dtype": "float32"}}}, "outputs.y.shape: required, and not given"),
        ({"axes": {"n": {"type": "const"}}}, "axes.n: an axis of type const must have a value"),
        ({"axes": ["n"]}, 'axes: must be a mapping, found ["n"]'),
        ({"reference": "def run(x) return x"}, "reference: does not parse as Python on its line 1"),
        ({"reference": "def go(x): ..."}, "reference: the text defines no run (known: go)"),
    ],
)
def test_a_definition_that_states_something_else_is_named(
    tmp_path: Path, change: dict, said: str
) -> None:
    """By file, field, rule and value; no sweep is written."""
    file = tmp_path / "twice.json"
    file.write_text(json.dumps({**DEFINITION, **change}))
    with pytest.raises(RequestError) as refused:
        adopt(file)
    assert said in str(refused.value)


def test_a_definition_without_workloads_has_axes_to_change(tmp_path: Path) -> None:
    """And adopt says that they are a guess."""
    place = tmp_path / "twice.json"
    place.write_text(json.dumps(DEFINITION))
    file, said = adopt(place)
    assert "the axes of the sweep are a guess" in said
    assert [trial.params["n"] for trial in Sweep.load(file).trials] == [64]


@pytest.mark.parametrize(
    ("workload", "said"),
    [
        ({"axes": {"n": "ten"}}, 'twice.jsonl:1: axes.n: must be an integer, found "ten"'),
        ({"axes": {}}, "twice.jsonl:1: axes.n: required, and not given"),
        ({"inputs": ["x"]}, 'twice.jsonl:1: inputs: must be a mapping, found ["x"]'),
    ],
)
def test_a_workload_that_states_something_else_is_named(
    tmp_path: Path, workload: dict, said: str
) -> None:
    """By file, line, field, rule and value."""
    (tmp_path / "twice.json").write_text(json.dumps(DEFINITION))
    right = {"uuid": "a", "axes": {"n": 4}, "inputs": {"x": {"type": "random"}}}
    (tmp_path / "twice.jsonl").write_text(json.dumps({"workload": {**right, **workload}}))
    with pytest.raises(RequestError) as refused:
        adopt(tmp_path / "twice.json")
    assert said in str(refused.value)


def test_solutions_that_cannot_run_are_left_out(tmp_path: Path) -> None:
    """Each with the reason; the others are adopted."""
    for name in ("definitions", "solutions"):
        (tmp_path / name).mkdir()
    (tmp_path / "definitions" / "twice.json").write_text(json.dumps(DEFINITION))

    def write(name: str, **change: object) -> None:
        solution = {
            "name": name,
            "definition": "twice",
            "spec": {"language": "python", "entry_point": "main.py::run"},
            "sources": [{"path": "main.py", "content": "def run(x):\n    return x + x\n"}],
        }
        text = json.dumps({**solution, **change})
        (tmp_path / "solutions" / f"{name}.json").write_text(text)

    write("good")
    write("nowhere", spec={"language": "python", "entry_point": "main.py::kernel"})
    write("bare", sources="def run(x): ...")
    (tmp_path / "solutions" / "torn.json").write_text("{")
    file, said = adopt(tmp_path)
    assert labels_of(file) == ["reference", "good"]
    assert "nowhere.json: spec.entry_point: main.py defines no kernel (known: run)" in said
    assert "bare.json: sources: must be a list" in said
    assert "torn.json is no JSON file" in said


class Failing:
    """An adapter of another package that cannot cope with what it is given."""

    def adopted(self, path: Path) -> None:
        raise KeyError(path.name)


def test_an_adapter_of_another_package_that_fails_hides_none_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing else is found its fault is said."""
    ours = workloads.adapters()
    monkeypatch.setattr(workloads, "adapters", lambda: {"failing": "none:NONE", **ours})
    adapter = workloads.adapter
    monkeypatch.setattr(
        workloads, "adapter", lambda name: Failing() if name == "failing" else adapter(name)
    )
    (tmp_path / "empty").mkdir()
    with pytest.raises(RequestError, match="the adapter failing fails with KeyError: 'empty'"):
        adopt(tmp_path / "empty")
    (tmp_path / "1_plus.py").write_text(PROBLEM)
    assert adopt(tmp_path)[1].startswith(f"{tmp_path.name} is of the format kernelbench")


@pytest.mark.parametrize(
    ("workload", "said"),
    [
        ("kernelbnch:.", "did you mean kernelbench:PATH?"),
        ("flashinfer-bench:.", "is a folder: name a JSON file in it"),
    ],
)
def test_a_workload_that_is_not_there_says_what_is_meant(
    tmp_path: Path, workload: str, said: str
) -> None:
    """A slip in the format's name, or a folder where a file is wanted."""
    text = f"name: s\nworkload: '{workload}'\nimplementations: ['torch:add']\n"
    with pytest.raises(RequestError) as refused:
        Sweep.parse(text, tmp_path)
    assert said in str(refused.value)


def test_a_submission_is_to_its_own_task_alone(tmp_path: Path) -> None:
    """It is refused where the workload is another, of whichever kind."""
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "task.yml").write_text(TASK)
        (folder / "reference.py").write_text(REFERENCE)
        (folder / "mine.py").write_text("def custom_kernel(data): ...\n")
    (tmp_path / "file.py").write_text("def inputs(n: int = 4): ...\ndef reference(x): ...\n")
    text = "name: s\nworkload: 'gpu-mode:two'\nimplementations: ['gpu-mode:{}']\n"
    assert Sweep.parse(text.format("two/mine.py"), tmp_path).trials
    for use, workload in (
        ("one/mine.py", "gpu-mode:two"),
        ("one", "gpu-mode:two"),
        ("two/mine.py", "./file.py"),
    ):
        other = text.format(use).replace("gpu-mode:two", workload, 1)
        with pytest.raises(RequestError, match=r"is of the task .*, and the workload is"):
            Sweep.parse(other, tmp_path)


@pytest.mark.parametrize("hidden", [".venv", "env", "__pycache__"])
def test_answers_are_looked_for_in_no_environment(tmp_path: Path, hidden: str) -> None:
    """Nor in hidden folders: what is installed there is nobody's answer."""
    folder = tmp_path / hidden / "lib"
    folder.mkdir(parents=True)
    if hidden == "env":
        (tmp_path / hidden / "pyvenv.cfg").write_text("")
    for name, text in (("1_plus.py", ANSWER), ("kernel.py", "def custom_kernel(data): ...")):
        (folder / name).write_text(text)
    (tmp_path / "1_plus.py").write_text(PROBLEM)
    assert labels_of(adopt(tmp_path)[0]) == ["torch", "torch-compiled"]
    (tmp_path / "1_plus.py").unlink()
    (tmp_path / "task.yml").write_text(TASK)
    (tmp_path / "reference.py").write_text(REFERENCE)
    assert labels_of(adopt(tmp_path, tmp_path / "task.yaml")[0]) == ["reference"]


def test_the_folder_of_definitions_and_the_file_of_a_task_are_found(tmp_path: Path) -> None:
    """As the data set and the folder that they are of."""
    folder = tmp_path / "trace" / "definitions" / "scale"
    folder.mkdir(parents=True)
    (folder / "twice.json").write_text(json.dumps(DEFINITION))
    for place in (folder.parents[1], folder.parent, folder):
        assert labels_of(adopt(place)[0]) == ["reference"]
        (folder / "sweep.yaml").unlink()
    (tmp_path / "task.yml").write_text(TASK)
    (tmp_path / "reference.py").write_text(REFERENCE)
    (tmp_path / "mine.py").write_text("def custom_kernel(data): ...\n")
    file, _ = adopt(tmp_path / "task.yml")
    assert file == tmp_path / "sweep.yaml"
    assert labels_of(file) == ["reference", "mine"]


def test_a_folder_that_is_called_like_a_file_is_none(tmp_path: Path) -> None:
    """Of Python's."""
    (tmp_path / "1_plus.py").write_text(PROBLEM)
    (tmp_path / "2_plus.py").mkdir()
    file, _ = adopt(tmp_path)
    assert {trial.params["problem"] for trial in Sweep.load(file).trials} == {"1_plus"}
