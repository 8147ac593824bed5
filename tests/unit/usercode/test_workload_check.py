"""What is wrong with a workload is said of the workload, before any implementation is called."""

from pathlib import Path

import pytest

from orchestrator.usercode import workload_file
from orchestrator.usercode.workload_check import problems

SOUND = """
import os, torch
columns = {}
def inputs(n: int, dtype: torch.dtype = torch.float32):
    return torch.randn(n, dtype=dtype)
def reference(x):
    return x * 2
"""


def found(tmp_path: Path, old: str = "", new: str = "", text: str = SOUND) -> list[str]:
    path = tmp_path / "w.py"
    path.write_text(text.replace(old, new) if old else text)
    workload = workload_file.load(path)
    return problems(workload, workload.params(n=5), "cpu")


def test_a_sound_workload_has_nothing_wrong(tmp_path: Path) -> None:
    """So that what is found is worth being refused for."""
    assert found(tmp_path) == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("x * 2", "{}['x']", "reference fails with KeyError: 'x' (w.py:7 in reference)"),
        (
            "x * 2",
            "x.float()",
            "reference returns torch.float32 for out where it is asked for torch.float64",
        ),
        ("x * 2", "None", "reference returns nothing"),
        ("x * 2", "x + torch.randn_like(x)", "reference gives another answer when it is called"),
        (
            "return torch.randn(n, dtype=dtype)",
            "return torch.randn(n), 1",
            "inputs returns 2 values, and reference takes 1 (x)",
        ),
        ("x * 2", "'two'", "reference returns str for out"),
        (
            "return torch.randn(n, dtype=dtype)",
            "raise ValueError(n)",
            "inputs fails with ValueError: 5 (w.py:5",
        ),
        (
            "torch.randn(n, dtype=dtype)",
            "torch.tensor(list(os.urandom(n))) / 1.0",
            "seed what draws it",
        ),
        (
            "torch.randn(n, dtype=dtype)",
            "torch.randn(n, dtype=torch.float64)",
            "the trial asks for torch.float32, and",
        ),
        (
            "torch.randn(n, dtype=dtype)",
            "torch.eye(n, dtype=dtype).to_sparse()",
            "the input x is of layout",
        ),
        (
            "torch.randn(n, dtype=dtype)",
            "(torch.randn(n), 1)",
            "inputs returns 2 values, and reference takes 1 (x)",
        ),
        ("columns = {}", "writes = ('y',)", "writes names y, which no input is called (known: x)"),
        (
            "x * 2",
            "(x * 1e9 + 1e9 - 1e9) - x * 1e9",
            "no implementation can be verified in this dtype",
        ),
        (
            "x * 2",
            "torch.nn.functional.binary_cross_entropy_with_logits(x, x, pos_weight=x)"
            "\nbackward = True",
            "backward = True, and the gradients of reference cannot be worked out: The function "
            "'binary_cross_entropy_with_logits' is not differentiable with respect to argument "
            "'pos_weight'. This input cannot have requires_grad True. (w.py:7 in reference); write",
        ),
        (
            "columns = {}",
            "def work(n): return n",
            "work fails with ValueError: work must return a mapping",
        ),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, old: str, new: str, said: str) -> None:
    """With the place in the file, where there is one."""
    assert said in "; ".join(found(tmp_path, old, new))


EIGENVECTORS = """
import torch
def inputs(n: int):
    a = torch.randn(n, n)
    return a + a.mT
def reference(a):
    values, vectors = torch.linalg.eigh(a)
    return values, vectors * torch.where(torch.rand(len(values)) < 0.5, -1, 1)
def judge(inputs, outputs, expected):
    return {"[1]: residual": (0.0, 1.0)}
"""


def test_answers_that_a_judge_looks_at_may_be_far_apart(tmp_path: Path) -> None:
    """Of two dtypes, and of two calls."""
    assert found(tmp_path, text=EIGENVECTORS) == []


def test_an_input_that_is_detached_needs_no_gradient(tmp_path: Path) -> None:
    """Its gradient is 0, and an operation that torch cannot differentiate by it is a reference's."""
    new = "torch.nn.functional.binary_cross_entropy_with_logits(x, x, pos_weight=x.detach())"
    assert found(tmp_path, "x * 2", f"{new}\nbackward = True") == []
    assert found(tmp_path, "x * 2", "{'out': x * 2, 'grad_x': x * 0 + 2}\nbackward = True") == []


BY_DTYPE = """
import torch
def inputs(n: int, dtype: torch.dtype = torch.float16):
    return torch.rand(n, dtype=dtype)
def reference(x):
    return x / 3
def judge(inputs, outputs, expected, dtype, *, n):
    away = (outputs["out"] - expected["out"]).abs().max()
    return {"away": (away, torch.finfo(dtype).eps), "count": (abs(n - outputs["out"].numel()), 0)}
"""


@pytest.mark.parametrize(("allowed", "ok"), [("torch.finfo(dtype).eps", True), ("1e-9", False)])
def test_a_judge_may_ask_for_params(tmp_path: Path, allowed: str, ok: bool) -> None:
    """All its tensors are wide: the trial's dtype alone says what rounding is."""
    wrong = found(tmp_path, "torch.finfo(dtype).eps", allowed, text=BY_DTYPE)
    assert ("judge refuses the reference's own answer" in str(wrong)) is not ok


def test_a_dict_that_names_other_arguments_is_no_argument(tmp_path: Path) -> None:
    """Both sides' names are said."""
    text = SOUND.replace("return torch.randn(n, dtype=dtype)", "return {'x': 1, 'yy': 2}")
    (said,) = found(tmp_path, text=text.replace("reference(x)", "reference(x, y)"))
    assert said == (
        "inputs returns a dict of x, yy, and reference takes x, y: a dict with these names is taken "
        "as its arguments"
    )


JUDGED = """
import torch
def inputs(n: int):
    return torch.randn(n)
def reference(x):
    return x / 3
def judge(inputs, outputs, expected):
    return LINES
"""


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("{'out: off': ((outputs['out'] - expected['out']).abs().max(), 1e-6)}", ""),
        ("{'off': ((outputs['output'] - expected['output']).abs().max(), 1e-6)}", ""),
        (
            "{'off': ((outputs['output'] - expected['output']).abs().max(), 0)}",
            "judge refuses the reference's own answer: off: ",
        ),
        ("{'off': (float('nan'), 1)}", "judge refuses the reference's own answer: off: nan"),
        (
            "{'off': (outputs['values'].sum(), 1)}",
            "judge fails with KeyError: \"there is no output 'values'; there is out\" (w.py:8",
        ),
        ("outputs['out'].sum() < 1", "judge returns tensor("),
        ("{'off': 0.0}", "judge returns {'off': 0.0}, and must return a dict of names with pairs"),
    ],
)
def test_a_judge_is_asked_about_the_references_own_answer(
    tmp_path: Path, lines: str, said: str
) -> None:
    """What it gets wrong is wrong for every implementation."""
    why = "; ".join(found(tmp_path, text=JUDGED.replace("LINES", lines)))
    assert said in why
    assert bool(said) is bool(why)


OVERFLOWS = """
import torch
def inputs(n: int, dtype: torch.dtype = torch.float16):
    return torch.linspace(100, 1000, n, dtype=dtype)
def reference(x):
    return x * x, (x * x).mean().sqrt()
"""


def test_what_overflows_in_the_trials_dtype_is_no_want_of_condition(tmp_path: Path) -> None:
    """It is judged where it is, and an implementation may go another way."""
    assert found(tmp_path, text=OVERFLOWS) == []


def test_what_a_file_draws_when_it_is_imported_shifts_no_input(tmp_path: Path) -> None:
    """The first draw, which imports the file, is like the second."""
    assert found(tmp_path, "columns = {}", "W = torch.randn(3)") == []


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        ("[torch.ones(n)]", "state returns a list, and must return a dict of tensors by name"),
        ("{'w': 2.0}", "state returns a float for w, and must return a dict of tensors"),
    ],
)
def test_a_state_that_is_no_dict_of_tensors_is_named(
    tmp_path: Path, returned: str, said: str
) -> None:
    """As what it is."""
    text = SOUND.replace("reference(x)", "reference(x, state)")
    text += f"def state(n):\n    return {returned}\n"
    (problem,) = found(tmp_path, text=text)
    assert said in problem
