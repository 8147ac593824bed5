"""KernelBench problems and answers as they are published: runs of generated answers, parameters of
other names, models that make tensors of their own.
"""

from pathlib import Path

import pytest

from orchestrator.cli.adopt import adopt
from orchestrator.outcome import Outcome
from orchestrator.plan.sweep import Sweep
from orchestrator.usercode.workload_check import problems
from tests.support.adapted import outcomes
from tests.support.attempts import attempts_of, recorded

LINEAR = """
import torch
class Model(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.linear = torch.nn.Linear(width, width)
        self.register_buffer("scale", torch.full((width,), 2.0))
    def forward(self, x):
        return torch.relu(self.linear(x)) * self.scale
def get_inputs(): return [torch.randn(8, 16)]
def get_init_inputs(): return [16]
"""
# Its first hidden state is made in the default dtype
RECURRENT = """
import torch
class Model(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.cell = torch.nn.GRU(width, width, batch_first=True)
    def forward(self, x):
        return self.cell(x, torch.zeros(1, x.shape[0], x.shape[2]))
def get_inputs(): return [torch.randn(2, 4, 8)]
def get_init_inputs(): return [8]
"""
TRANSPOSED = """
import torch
class ModelNew(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        linear = torch.nn.Linear(width, width)
        self.weight = torch.nn.Parameter(linear.weight.t().contiguous())
        self.bias = torch.nn.Parameter(linear.bias)
    def forward(self, x):
        return torch.relu(x @ self.weight + self.bias) * 2
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "1_Linear.py").write_text(LINEAR)
    (tmp_path / "12_Recurrent.py").write_text(RECURRENT)
    run = tmp_path / "runs" / "mine"
    run.mkdir(parents=True)
    (run / "level_1_problem_1_sample_0_kernel.py").write_text(TRANSPOSED)
    (run / "level_1_problem_1_sample_1_kernel.py").write_text(TRANSPOSED.replace("* 2", "* 3"))
    return tmp_path


@pytest.mark.slow
def test_a_run_of_generated_answers_is_adopted_sample_by_sample(folder: Path) -> None:
    """Weights of other names are drawn from the seed of Model's; what has no answer is no failure."""
    file, said = adopt(folder)
    assert said.endswith("torch, torch-compiled, runs-mine-sample-0, runs-mine-sample-1")
    sweep = Sweep.load(file, only="implementation != 'torch-compiled'")
    assert list(sweep.spec.allow_outcomes) == ["unsupported"]
    found = outcomes(sweep)
    expected = {
        ("torch", "1_Linear"): Outcome.OK,
        ("torch", "12_Recurrent"): Outcome.OK,
        ("runs-mine-sample-0", "1_Linear"): Outcome.OK,
        ("runs-mine-sample-1", "1_Linear"): Outcome.MISMATCH,
    }
    assert {key: found[key] for key in expected} == expected
    assert {found[key] for key in set(found) - set(expected)} == {Outcome.UNSUPPORTED}


def test_a_model_may_make_tensors_in_the_default_dtype(folder: Path) -> None:
    """The reference is asked for in float64, and makes them so."""
    sweep = Sweep.load(adopt(folder)[0], only="problem == '12_Recurrent'")
    assert problems(sweep.workload, sweep.params(sweep.trials[0]), "cpu") == []


def test_init_inputs_that_are_no_list_are_named(folder: Path) -> None:
    """As what they are."""
    (folder / "1_Linear.py").write_text(LINEAR.replace("return [16]", "return 16"))
    sweep = Sweep.load(adopt(folder)[0], only="problem == '1_Linear' and implementation == 'torch'")
    (attempt,) = attempts_of(sweep)
    error = recorded(attempt).error
    assert error is not None
    assert "get_init_inputs returns a int, and must return a list" in error.message


def test_init_inputs_may_be_a_dict(folder: Path) -> None:
    """Of what Model is made with, by name."""
    (folder / "1_Linear.py").write_text(LINEAR.replace("return [16]", "return {'width': 16}"))
    sweep = Sweep.load(adopt(folder)[0], only="problem == '1_Linear' and implementation == 'torch'")
    (attempt,) = attempts_of(sweep)
    assert recorded(attempt).outcome is Outcome.OK


@pytest.mark.parametrize("returned", ["torch.randn(8, 16)", "{'x': torch.randn(8, 16)}", "5"])
def test_inputs_that_are_no_list_are_named(folder: Path, returned: str) -> None:
    """Not taken apart: the rows of a tensor are no arguments."""
    text = LINEAR.replace("return [torch.randn(8, 16)]", f"return {returned}")
    (folder / "1_Linear.py").write_text(text)
    sweep = Sweep.load(adopt(folder)[0], only="problem == '1_Linear'")
    (said,) = problems(sweep.workload, sweep.params(sweep.trials[0]), "cpu")
    assert "and must return a list: what Model is called with, by position" in said


def test_tensors_in_lists_have_the_dtype_of_the_trial(folder: Path) -> None:
    """As those that are arguments themselves."""
    text = LINEAR.replace("forward(self, x)", "forward(self, xs)").replace("(x)", "(xs[0])")
    text = text.replace("return [torch.randn(8, 16)]", "return [[torch.randn(8, 16)]]")
    (folder / "1_Linear.py").write_text(text)
    sweep = "name: s\nworkload: 'kernelbench:.'\nimplementations: ['kernelbench:.']\n"
    sweep += "constants: {dtype: bfloat16}\naxes: {problem: [1_Linear]}\n"
    (attempt,) = attempts_of(Sweep.parse(sweep, folder))
    assert recorded(attempt).outcome is Outcome.OK


def test_an_answer_that_cannot_be_imported_is_a_row_of_its_own(folder: Path) -> None:
    """Its file does not parse, or defines no ModelNew; the other answers are run."""
    run = folder / "runs" / "mine"
    (run / "level_1_problem_1_sample_1_kernel.py").write_text("class ModelNew(:\n")
    (run / "level_1_problem_12_sample_1_kernel.py").write_text("import torch\n")
    file, said = adopt(folder)
    assert "runs-mine-sample-1" in said
    said_of = {}
    for attempt in attempts_of(Sweep.load(file, only="implementation == 'runs-mine-sample-1'")):
        record = recorded(attempt)
        assert record.outcome is Outcome.FAILED
        assert record.error is not None
        said_of[attempt.trial.params["problem"]] = record.error.message
    assert "invalid syntax" in said_of["1_Linear"]
    assert "has no attribute 'ModelNew'" in said_of["12_Recurrent"]


def test_what_problems_import_is_no_problem(folder: Path) -> None:
    """A file beside them with a Model and nothing else."""
    (folder / "common.py").write_text("class Model: ...\n")
    file, said = adopt(folder)
    assert "left out: common.py, which defines Model alone, and is no problem" in said
    assert {trial.params["problem"] for trial in Sweep.load(file).trials} == {
        "1_Linear",
        "12_Recurrent",
    }


def test_one_problem_is_adopted_by_its_file(folder: Path) -> None:
    """With the answers beside it."""
    file, said = adopt(folder / "1_Linear.py")
    assert "runs-mine-sample-1" in said
    assert {trial.params["problem"] for trial in Sweep.load(file).trials} == {"1_Linear"}


def test_a_reference_that_knows_no_float64_is_computed_as_it_stands_at_every_call(
    tmp_path: Path,
) -> None:
    """Not at the first alone: the implementation is not blamed for the second."""
    (tmp_path / "1_Weight.py").write_text(
        "import torch\nW = torch.randn(16, 16)\n"
        "class Model(torch.nn.Module):\n    def forward(self, x): return x @ W\n"
        "def get_inputs(): return [torch.randn(8, 16)]\ndef get_init_inputs(): return []\n"
    )
    text = "name: s\nworkload: 'kernelbench:.'\nimplementations: ['kernelbench:.']\n"
    sweep = Sweep.parse(text, tmp_path)
    assert problems(sweep.workload, sweep.params(sweep.trials[0]), "cpu") == []
    (attempt,) = attempts_of(sweep)
    record = recorded(attempt)
    assert record.outcome is Outcome.OK, record.error


ONE = """
import numpy as np, torch
GENERATOR = np.random.default_rng(0)
class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.drop = torch.nn.Dropout(0.5)
    def forward(self, x): return x * 2
def get_inputs(): return [torch.randn(8, 16)]
def get_init_inputs(): return []
"""


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("x * 2", "self.drop(x)", "forward of Model draws random numbers, so that it has no one"),
        (
            "torch.randn(8, 16)",
            "torch.from_numpy(GENERATOR.standard_normal((8, 16)))",
            "the problem is at fault, and no implementation: the input inputs[0] has other values",
        ),
    ],
)
def test_a_problem_that_cannot_be_verified_is_said_to_be_at_fault_in_its_row(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    """A run checks the first problem of a folder alone; with dropout any answer would pass."""
    (tmp_path / "1_One.py").write_text(ONE.replace(old, new))
    text = "name: s\nworkload: 'kernelbench:.'\nimplementations: ['kernelbench:.']\n"
    (attempt,) = attempts_of(Sweep.parse(text, tmp_path))
    record = recorded(attempt)
    assert record.outcome is Outcome.FAILED
    assert record.error is not None
    assert said in record.error.message


def test_dropout_that_drops_nothing_is_no_draw(tmp_path: Path) -> None:
    """As in evaluation mode."""
    text = ONE.replace("x * 2", "self.drop(x)").replace("(0.5)", "(0.5).eval()")
    (tmp_path / "1_One.py").write_text(text)
    sweep = "name: s\nworkload: 'kernelbench:.'\nimplementations: ['kernelbench:.']\n"
    (attempt,) = attempts_of(Sweep.parse(sweep, tmp_path))
    assert recorded(attempt).outcome is Outcome.OK


def test_a_number_that_is_drawn_is_refused_with_what_works_in_this_format(tmp_path: Path) -> None:
    """Its inputs see no params; and each is called by its place."""
    text = ONE.replace("[torch.randn(8, 16)]", "[torch.randn(8, 16), np.random.rand()]")
    (tmp_path / "1_One.py").write_text(text.replace("self, x", "self, x, factor"))
    sweep = "name: s\nworkload: 'kernelbench:.'\nimplementations: ['kernelbench:.']\n"
    parsed = Sweep.parse(sweep, tmp_path)
    (said,) = problems(parsed.workload, parsed.params(parsed.trials[0]), "cpu")
    assert "the input inputs[1] follows the seed" in said
    assert "write it down as a constant, or give it as a tensor" in said


STARTED = """
import torch
class Model(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.cell = torch.nn.GRU(width, width, batch_first=True)
        self.start = torch.randn(1, 2, width)
    def forward(self, x):
        return self.cell(x, self.start)[0]
def get_inputs(): return [torch.randn(2, 4, 8)]
def get_init_inputs(): return [8]
"""


def test_what_a_model_draws_beside_its_weights_is_the_same_for_model_and_answer(
    tmp_path: Path,
) -> None:
    """A first hidden state, say: as in the format, both are made from one seed. The weights may
    have other names.
    """
    answer = STARTED.replace("class Model", "class ModelNew")
    for place, text in (
        ("1_Started.py", STARTED),
        ("right/1_Started.py", answer),
        ("renamed/1_Started.py", answer.replace("self.cell", "self.gru")),
        ("wrong/1_Started.py", answer.replace("self.start)[0]", "0 * self.start)[0]")),
    ):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).write_text(text)
    uses = ", ".join(f"'kernelbench:{name}'" for name in (".", "right", "renamed", "wrong"))
    for dtype in ("float32", "bfloat16"):
        text = f"name: s\nworkload: 'kernelbench:.'\nimplementations: [{uses}]\n"
        sweep = Sweep.parse(f"{text}axes: {{dtype: [{dtype}]}}\n", tmp_path)
        assert problems(sweep.workload, sweep.params(sweep.trials[0]), "cpu") == []
        found = [recorded(attempt).outcome for attempt in attempts_of(sweep)]
        assert found == [Outcome.OK, Outcome.OK, Outcome.OK, Outcome.MISMATCH]


IN_PLACE = """
import torch
class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.relu = torch.nn.ReLU(inplace=True)
    def forward(self, x):
        return self.relu(x) * 2
def get_inputs(): return [torch.randn(8, 16)]
def get_init_inputs(): return []
"""


def test_an_input_that_a_model_changes_may_be_changed_or_not(tmp_path: Path) -> None:
    """As in the format, nobody looks at it afterwards; one that it leaves alone must stay."""
    answer = IN_PLACE.replace("class Model", "class ModelNew")
    for place, text in (
        ("1_InPlace.py", IN_PLACE),
        ("2_Apart.py", IN_PLACE.replace("inplace=True", "")),
        ("same/1_InPlace.py", answer),
        ("same/2_Apart.py", answer),
        ("apart/1_InPlace.py", answer.replace("inplace=True", "")),
        ("apart/2_Apart.py", answer.replace("inplace=True", "")),
        ("wrong/1_InPlace.py", answer.replace("* 2", "* 3")),
        ("wrong/2_Apart.py", answer.replace("* 2", "* 3").replace("inplace=True", "")),
    ):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).write_text(text)
    uses = ", ".join(f"'kernelbench:{name}'" for name in (".", "same", "apart", "wrong"))
    text = f"name: s\nworkload: 'kernelbench:.'\nimplementations: [{uses}]\n"
    found = outcomes(Sweep.parse(text, tmp_path), "problem")
    for name, ends in (
        ("1_InPlace", (Outcome.OK, Outcome.OK, Outcome.OK, Outcome.MISMATCH)),
        ("2_Apart", (Outcome.OK, Outcome.MISMATCH, Outcome.OK, Outcome.MISMATCH)),
    ):
        of_problem = [outcome for (_, problem), outcome in found.items() if problem == name]
        assert tuple(of_problem) == ends


def test_a_model_that_computes_in_float32_inside_may_return_that(tmp_path: Path) -> None:
    """At bfloat16 an answer returns what it was given, or what Model returns."""
    answer = IN_PLACE.replace("class Model", "class ModelNew").replace("inplace=True", "")
    for place, text in (
        ("1_Wide.py", IN_PLACE.replace("inplace=True", "").replace("(x)", "(x.float())")),
        ("right/1_Wide.py", answer),
        ("wrong/1_Wide.py", answer.replace("* 2", "* 2.1")),
        ("other/1_Wide.py", answer.replace("(x)", "(x.half())")),
    ):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).write_text(text)
    uses = ", ".join(f"'kernelbench:{name}'" for name in (".", "right", "wrong", "other"))
    text = f"name: s\nworkload: 'kernelbench:.'\nimplementations: [{uses}]\n"
    sweep = Sweep.parse(f"{text}axes: {{dtype: [bfloat16]}}\n", tmp_path)
    found = [recorded(attempt).outcome for attempt in attempts_of(sweep)]
    assert found == [Outcome.OK, Outcome.OK, Outcome.MISMATCH, Outcome.FAILED]


def test_large_inputs_are_not_drawn_a_second_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They might not fit beside the first ones; of such a problem the check alone tells."""
    monkeypatch.setattr("orchestrator.usercode.implementation.MOST_DRAWN_TWICE", 100)
    drawn = "torch.from_numpy(GENERATOR.standard_normal((8, 16)))"
    (tmp_path / "1_One.py").write_text(ONE.replace("torch.randn(8, 16)", drawn))
    sweep = Sweep.parse(
        "name: s\nworkload: 'kernelbench:.'\nimplementations: ['kernelbench:.']\n", tmp_path
    )
    (attempt,) = attempts_of(sweep)
    error = recorded(attempt).error
    assert error is None or "the problem is at fault" not in error.message
    (said,) = problems(sweep.workload, sweep.params(sweep.trials[0]), "cpu")
    assert "other values when it is drawn again" in said
