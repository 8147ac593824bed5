"""Problems in the formats of other benchmarks: right answers are right, wrong ones are caught, gaps
are named.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from orchestrator.cli.adopt import adopt
from orchestrator.errors import RequestError, SweepFileError
from orchestrator.outcome import Outcome
from orchestrator.plan.sweep import Sweep
from orchestrator.usercode.workload_check import problems
from tests.support.adapted import outcomes

LINEAR = """
import torch
class Model(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.linear = torch.nn.Linear(width, width)
    def forward(self, x, scale):
        return torch.relu(self.linear(x)) * scale
def get_inputs(): return [torch.randn(8, 16), 2.0]
def get_init_inputs(): return [16]
"""
SOFTMAX = """
import torch
class Model(torch.nn.Module):
    def forward(self, x): return torch.softmax(x, dim=1)
def get_inputs(): return [torch.randn(8, 32)]
def get_init_inputs(): return []
"""
DEFINITION = {
    "name": "scaled_gemm_k16",
    "op_type": "gemm",
    "axes": {"M": {"type": "var"}, "K": {"type": "const", "value": 16}},
    "inputs": {
        "a": {"shape": ["M", "K"], "dtype": "float32"},
        "b": {"shape": ["K", "K"], "dtype": "float32"},
        "scale": {"shape": None, "dtype": "float32"},
    },
    "outputs": {
        "c": {"shape": ["M", "K"], "dtype": "float32"},
        "largest": {"shape": ["M"], "dtype": "float32"},
    },
    "reference": "import torch\ndef run(a, b, scale):\n    c = a @ b * scale\n    return c, c.amax(dim=1)",
}
TASK = """
files:
  - {"name": "submission.py", "source": "@SUBMISSION@"}
  - {"name": "task.py", "source": "task.py"}
  - {"name": "reference.py", "source": "reference.py"}
lang: "py"
description: |
  Add two vectors.
tests:
  - {"size": 7, "seed": 1}
benchmarks:
  - {"size": 64, "seed": 2}
  - {"size": 100, "seed": 3}
"""
REFERENCE = """
import torch
from task import Data
def generate_input(size: int, seed: int):
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.randn(2, size, generator=generator)
    return a, b, torch.empty_like(a)
def ref_kernel(data: Data):
    a, b, out = data
    out.copy_(a + b)
    return out
"""


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Calls this small take the time that threads wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def kernelbench(tmp_path: Path) -> Path:
    (tmp_path / "1_Linear.py").write_text(LINEAR)
    (tmp_path / "2_Softmax.py").write_text(SOFTMAX)
    answers = tmp_path / "answers"
    answers.mkdir()
    new = LINEAR.replace("class Model(", "class ModelNew(").partition("def get_inputs")[0]
    (answers / "1_Linear.py").write_text(
        new.replace("torch.relu(self.linear(x))", "self.linear(x).clamp(min=0)")
    )
    wrong = SOFTMAX.replace("class Model(", "class ModelNew(").replace("dim=1", "dim=0")
    (answers / "2_Softmax.py").write_text(wrong.partition("def get_inputs")[0])
    return tmp_path


@pytest.mark.slow
def test_a_kernelbench_folder_is_adopted_and_a_wrong_answer_caught(kernelbench: Path) -> None:
    """Every file is a value of `problem`; weights are those of the model under test."""
    file, said = adopt(kernelbench)
    assert said.endswith("implementations: torch, torch-compiled, answers")
    sweep = Sweep.load(file, only="implementation != 'torch-compiled'")
    assert problems(sweep.workload, sweep.params(sweep.trials[0]), "cpu") == []
    assert outcomes(sweep) == {
        ("torch", "1_Linear"): Outcome.OK,
        ("torch", "2_Softmax"): Outcome.OK,
        ("answers", "1_Linear"): Outcome.OK,
        ("answers", "2_Softmax"): Outcome.MISMATCH,
    }


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        (
            "1_Linear.py",
            "class Model: ...\ndef get_inputs(): ...",
            "1_Linear.py defines no get_init_inputs",
        ),
        (
            "answers/1_Linear.py",
            "def f(): ...",
            "answers has a file with ModelNew for none of the problems",
        ),
    ],
)
def test_what_a_kernelbench_folder_lacks_is_named(
    kernelbench: Path, file: str, text: str, said: str
) -> None:
    """Before anything runs."""
    (kernelbench / "answers" / "2_Softmax.py").unlink()
    (kernelbench / file).write_text(text)
    sweep = "name: s\nworkload: 'kernelbench:.'\nimplementations: ['kernelbench:answers']\n"
    with pytest.raises(SweepFileError) as refused:
        Sweep.parse(sweep, kernelbench)
    assert said in str(refused.value)


def solution(name: str, body: str, **spec: object) -> str:
    source = f"import torch\ndef run(a, b, scale{', c, largest' if spec.get('destination_passing_style') else ''}):\n"
    return json.dumps(
        {
            "name": name,
            "definition": "scaled_gemm_k16",
            "author": "tests",
            "spec": {"language": "python", "entry_point": "main.py::run", **spec},
            "sources": [{"path": "main.py", "content": f"{source}    {body}\n"}],
        }
    )


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("definitions/gemm", "workloads/gemm", "solutions/mine"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "definitions/gemm/scaled_gemm_k16.json").write_text(json.dumps(DEFINITION))
    random = {"type": "random"}
    lines = [
        {
            "uuid": f"w{rows}",
            "axes": {"M": rows},
            "inputs": {"a": random, "b": random, "scale": {"type": "scalar", "value": 0.5}},
        }
        for rows in (4, 9)
    ]
    text = "\n".join(
        json.dumps({"definition": "scaled_gemm_k16", "workload": line}) for line in lines
    )
    (tmp_path / "workloads/gemm/scaled_gemm_k16.jsonl").write_text(text)
    (tmp_path / "solutions/mine/right.json").write_text(
        solution("right", "c = (a * scale) @ b; return {'c': c, 'largest': c.max(dim=1).values}")
    )
    (tmp_path / "solutions/mine/into.json").write_text(
        solution(
            "into",
            "torch.matmul(a * scale, b, out=c); largest.copy_(c.amax(1))",
            destination_passing_style=True,
        )
    )
    (tmp_path / "solutions/mine/wrong.json").write_text(
        solution("wrong", "c = a @ b * scale; return c, c.amin(dim=1)")
    )
    return tmp_path


@pytest.mark.slow
def test_a_definition_is_adopted_with_its_workloads_and_solutions(dataset: Path) -> None:
    """Solutions that return, that write into what they are given, and one whose second output is
    wrong.
    """
    file, said = adopt(dataset)
    assert said.endswith("implementations: reference, into, right, wrong")
    found = outcomes(Sweep.load(file))
    assert {key for key, outcome in found.items() if outcome is not Outcome.OK} == {
        ("wrong", "w4"),
        ("wrong", "w9"),
    }
    assert len(found) == 8


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"inputs": {"a": {"shape": ["N"], "dtype": "float32"}}},
            "has the axis 'N', which axes does not name",
        ),
        (
            {"axes": {"M": {"type": "expr"}}},
            "axes.M.type: must be 'const' or 'var', found \"expr\"",
        ),
        ({"outputs": None}, "is no definition: it lacks outputs"),
    ],
)
def test_what_a_definition_has_beyond_the_adapter_is_named(
    dataset: Path, change: dict, said: str
) -> None:
    """Rather than read past."""
    content = {name: value for name, value in {**DEFINITION, **change}.items() if value is not None}
    file = dataset / "definitions/gemm/scaled_gemm_k16.json"
    file.write_text(json.dumps(content))
    text = f"name: s\nworkload: 'flashinfer-bench:{file}'\nimplementations: ['flashinfer-bench:{file}']\n"
    with pytest.raises(SweepFileError) as refused:
        Sweep.parse(text, dataset)
    assert said in str(refused.value)


def test_a_solution_that_has_to_be_built_is_left_out_or_refused(dataset: Path) -> None:
    """By its language: adopt leaves it out and says so, a sweep that names it is refused."""
    mine = dataset / "solutions/mine/right.json"
    mine.write_text(solution("right", "return a", language="cuda"))
    file, said = adopt(dataset)
    assert "left out: right.json is in cuda, which has to be built" in said
    text = file.read_text().replace(str(mine.with_name("into.json")), str(mine))
    with pytest.raises(SweepFileError, match=r"right\.json is in cuda, which has to be built"):
        Sweep.parse(text, file.parent)


def test_of_several_problems_one_is_to_be_named(dataset: Path, kernelbench: Path) -> None:
    """Below a folder that holds none itself; each with the command that adopts it."""
    several = dataset / "several"
    for name in ("level1", "level2"):
        (several / name).mkdir(parents=True)
        (several / name / "1_Linear.py").write_text(LINEAR)
    with pytest.raises(RequestError, match="holds problems in 2 places; adopt one:") as refused:
        adopt(several)
    assert f"orchestrator adopt {several / 'level2'}  # kernelbench" in str(refused.value)
    (several / "level2" / "1_Linear.py").unlink()
    assert adopt(several)[0] == several / "level1" / "sweep.yaml"


@pytest.fixture
def task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "vectoradd"
    (folder / "submissions").mkdir(parents=True)
    (folder / "task.yml").write_text(TASK)
    (folder / "task.py").write_text("Data = tuple\n")
    (folder / "reference.py").write_text(REFERENCE)
    kernel = "from task import Data\ndef custom_kernel(data: Data):\n    a, b, out = data\n    out[:] = {}\n    return out\n"
    (folder / "submissions" / "right.py").write_text(kernel.format("b + a"))
    (folder / "submissions" / "wrong.py").write_text(kernel.format("a - b"))
    return folder


@pytest.mark.slow
def test_a_gpu_mode_task_is_adopted_and_a_wrong_submission_caught(task: Path) -> None:
    """What the reference writes into, a submission may write into."""
    file, said = adopt(task)
    assert said.endswith("implementations: reference, submissions-right, submissions-wrong")
    found = outcomes(Sweep.load(file))
    assert {key for key, outcome in found.items() if outcome is not Outcome.OK} == {
        ("submissions-wrong", "benchmark-1"),
        ("submissions-wrong", "benchmark-2"),
    }


def test_a_task_in_another_language_is_refused(task: Path) -> None:
    """By name."""
    (task / "task.yml").write_text(TASK.replace('"py"', '"cu"'))
    with pytest.raises(RequestError, match="lang is 'cu', and this adapter knows py alone"):
        Sweep.load(adopt(task)[0])


def test_adopt_overwrites_nothing_and_says_what_it_knows(task: Path, tmp_path: Path) -> None:
    """And takes another place for the file, from which its paths still hold."""
    (task / "sweep.yaml").write_text("mine")
    with pytest.raises(RequestError, match="adopt overwrites nothing"):
        adopt(task)
    file, _ = adopt(task, tmp_path / "elsewhere.yaml")
    assert len(Sweep.load(file).trials) == 6
    with pytest.raises(
        RequestError, match=r"no problems of a format that is known here:\n  kernelbench: a folder"
    ):
        adopt(task / "submissions")
