"""GPU MODE tasks as they are published: memory for the answer, dtypes of their own, checks of their
own, params that some cases leave out.
"""

from pathlib import Path

import pytest

from orchestrator.cli.adopt import adopt
from orchestrator.errors import SweepFileError
from orchestrator.outcome import Outcome
from orchestrator.plan.sweep import Sweep
from orchestrator.usercode.workload_check import problems
from tests.support.adapted import outcomes

TASK = """
files:
  - {"name": "submission.py", "source": "@SUBMISSION@"}
  - {"name": "task.py", "source": "task.py"}
  - {"name": "reference.py", "source": "reference.py"}
  - {"name": "eval.py", "source": "eval.py"}
lang: "py"
ranking_by: "geom"
gpus: [B200]
tests:
  - {"size": 7, "seed": 1}
benchmarks:
  - {"size": 64, "seed": 2}
  - {"size": 96, "seed": 3, "kind": "ties"}
"""
# In float32, whatever it is given; the memory that comes with the data is left alone
SCAN = """
import torch
from task import Data
def generate_input(size: int, seed: int, kind: str = "normal"):
    x = torch.randn(size, generator=torch.Generator().manual_seed(seed))
    return (x.round() if kind == "ties" else x), torch.empty(size)
def ref_kernel(data: Data):
    x, out = data
    out = torch.cumsum(x.to(torch.float64), dim=0).to(torch.float32)
    return out
"""
FRESH = """
import torch
def _kernel(data): return torch.cumsum(data[0], dim=0)
custom_kernel = _kernel
"""
INTO = """
import torch
def custom_kernel(data):
    x, out = data
    torch.cumsum(x, dim=0, out=out)
    return out
"""
EMPTY = "def custom_kernel(data): return data[1]\n"
# The sign of an eigenvector is free
EIGEN = """
import torch
def generate_input(size: int, seed: int, kind: str = "normal"):
    x = torch.randn(2, size // 8, size // 8, generator=torch.Generator().manual_seed(seed))
    return x + x.mT
def ref_kernel(data):
    values, vectors = torch.linalg.eigh(data)
    return vectors, values
def residual(a, vectors, values):
    return (a @ vectors - vectors * values.unsqueeze(-2)).abs().amax()
def check_implementation(data, output):
    vectors, values = output
    if vectors.dtype != torch.float32:
        return False, "Q must be float32"
    gram = vectors.mT @ vectors - torch.eye(vectors.shape[-1])
    if gram.abs().amax() > 1e-4 or residual(data, vectors, values) > 1e-4:
        return False, "A @ Q is not Q @ diag(L)"
    return True, ""
"""
NEGATED = """
import torch
def custom_kernel(data):
    values, vectors = torch.linalg.eigh(data)
    return -vectors, values
"""
FLIPPED = NEGATED.replace("-vectors", "vectors.flip(-1)")


@pytest.fixture
def task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "task"
    folder.mkdir()
    (folder / "task.yml").write_text(TASK)
    (folder / "task.py").write_text("Data = tuple\n")
    (folder / "eval.py").write_text("from submission import custom_kernel\n")
    return folder


def written(task: Path, reference: str, **submissions: str) -> Sweep:
    (task / "reference.py").write_text(reference)
    for name, text in submissions.items():
        (task / f"{name}.py").write_text(text)
    return Sweep.load(adopt(task)[0])


@pytest.mark.slow
def test_memory_for_the_answer_may_be_used_or_not(task: Path) -> None:
    """Where the reference leaves it alone, too, and computes in float32; unwritten it holds no answer."""
    sweep = written(task, SCAN, fresh=FRESH, into=INTO, empty=EMPTY)
    assert problems(sweep.workload, sweep.params(sweep.trials[0]), "cpu") == []
    ends = outcomes(sweep)
    assert len(ends) == 8
    wrong = {key[0] for key, outcome in ends.items() if outcome is Outcome.MISMATCH}
    right = {key[0] for key, outcome in ends.items() if outcome is Outcome.OK}
    assert (right, wrong) == ({"reference", "fresh", "into"}, {"empty"})


@pytest.mark.slow
def test_a_check_of_properties_is_the_judge(task: Path) -> None:
    """It gets the answer in the dtypes that it knows, and other right answers than the reference's."""
    sweep = written(task, EIGEN, negated=NEGATED, flipped=FLIPPED)
    assert problems(sweep.workload, sweep.params(sweep.trials[0]), "cpu") == []
    ends = outcomes(sweep)
    wrong = {key[0] for key, outcome in ends.items() if outcome is Outcome.MISMATCH}
    right = {key[0] for key, outcome in ends.items() if outcome is Outcome.OK}
    assert (right, wrong) == ({"reference", "negated"}, {"flipped"})


@pytest.mark.parametrize(
    "asks",
    [
        "reference = ref_kernel\n",
        "class Checker:\n    def reference(self, data): return ref_kernel(data)\n"
        "reference = Checker().reference\n",
        "from functools import partial\nreference = partial(ref_kernel)\n",
    ],
)
def test_a_check_may_ask_the_reference_by_another_name(task: Path, asks: str) -> None:
    """One that is assigned, or by a class: its tolerance would be the judge else."""
    check = "def check_implementation(data, output):\n    return torch.allclose(output, reference(data), 1, 1)\n"
    assert written(task, SCAN + asks + check).workload.judge is None


def test_a_check_that_asks_the_reference_is_no_judge(task: Path) -> None:
    """It would allow what its tolerance allows."""
    check = "def check_implementation(data, output): return matches(data, output)\n"
    helper = (
        "def matches(data, output): return torch.allclose(output, ref_kernel(data), 1, 1), ''\n"
    )
    assert written(task, SCAN + helper + check).workload.judge is None


def test_what_a_case_leaves_out_has_the_default_of_generate_input(task: Path) -> None:
    """Or is refused where there is none."""
    sweep = written(task, SCAN)
    assert [trial.params["kind"] for trial in sweep.trials] == ["normal", "ties"]
    (task / "reference.py").write_text(SCAN.replace(' = "normal"', ""))
    with pytest.raises(SweepFileError, match="some benchmarks state kind and others do not"):
        Sweep.load(task / "sweep.yaml")


def test_only_submissions_are_adopted(task: Path) -> None:
    """By definition, assignment or import; none of the task's own files."""
    again = "from reference import ref_kernel as custom_kernel\n"
    sweep = written(task, SCAN, fresh=FRESH, again=again)
    assert [one.label for one in sweep.spec.implementations] == ["reference", "again", "fresh"]
