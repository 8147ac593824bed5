"""What an implementation may be: a factory, a callable, a class; and what is refused, with what was
found.
"""

import functools
from pathlib import Path

import pytest
import torch

from orchestrator.errors import SweepFileError
from orchestrator.plan.sweep import Sweep
from orchestrator.usercode.callables import make, shape_of
from orchestrator.workload import Config

WORKLOAD = "import torch\ndef inputs(n: int): return torch.randn(n), torch.randn(n)\ndef reference(a, b): return a + b\n"


def refusal(tmp_path: Path, code: str, entry: str) -> str:
    (tmp_path / "w.py").write_text(WORKLOAD)
    (tmp_path / "mine.py").write_text(code)
    text = f"name: s\nworkload: ./w.py\nimplementations: [{entry}]\naxes: {{n: [2]}}\n"
    try:
        Sweep.parse(text, tmp_path)
    except SweepFileError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("code", "entry", "said"),
    [
        ("def f(a, b): ...", "'./mine.py:f'", ""),
        ("def f(a, b, scale=1): ...", "{use: './mine.py:f', call: {scale: 2}}", ""),
        ("def f(config): ...", "{use: './mine.py:f', options: {block: 2}}", ""),
        ("def build(anything): ...", "'./mine.py:build'", ""),
        ("f = lambda a, b: a", "'./mine.py:f'", ""),
        ("class F: ...", "'./mine.py:F'", ""),
        ("class F:\n    def __init__(self, config): ...", "'./mine.py:F'", ""),
        ("class F:\n    def __init__(self, n, device, x=1): ...", "'./mine.py:F'", ""),
        (
            "class F:\n    def __init__(self, block): ...",
            "{use: './mine.py:F', options: {block: 2}}",
            "",
        ),
        (
            "class F:\n    def __init__(self, n, hidden): ...",
            "'./mine.py:F'",
            "F is made with hidden, which is no param and no option",
        ),
        ("def f(*args): ...", "'./mine.py:f'", ""),
        (
            "def f(a): ...",
            "'./mine.py:f'",
            "f(a) takes 1 argument, and the workload has 2 inputs (a, b)",
        ),
        ("def f(a, b, c): ...", "'./mine.py:f'", "f(a, b, c) takes 3 arguments"),
        (
            "def f(a, b): ...",
            "{use: './mine.py:f', call: {dim: 1}}",
            "f(a, b) takes no dim, which call: gives",
        ),
        (
            "def f(a, b): ...",
            "{use: './mine.py:f', options: {x: 1}}",
            "options reach build(config) alone",
        ),
        ("def f(a, b, *, k): ...", "'./mine.py:f'", "f needs k by keyword"),
        ("f = 3", "'./mine.py:f'", "f is 3, which cannot be called"),
        ("async def f(a, b): ...", "'./mine.py:f'", "async function"),
        ("def f(a, b): ...", "'./mine.py:g'", "has no 'g'"),
        ("", "{use: 'math:floor', compile: {mod: x}}", "unknown key (did you mean 'mode'?)"),
        ("", "'math:flor'", "math has no 'flor' (did you mean 'floor'?)"),
        ("", "'math:pi'", "pi is a float, which cannot be called"),
    ],
)
def test_plan_refuses_what_can_be_no_implementation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, entry: str, said: str
) -> None:
    """Before anything runs, and nothing else."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = refusal(tmp_path, code, entry)
    assert said in found
    assert bool(said) == bool(found)


class Scaled(torch.nn.Module):
    """Asks for a param of the trial by its name."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.n = n


def test_a_class_is_made_of_the_params_it_asks_for() -> None:
    """An nn.Module needs no factory around it."""
    made = make(
        Scaled,
        "Scaled",
        Config({"n": 3}, "cpu"),
        {"n": 3, "dtype": "float32"},
        ("a", "b"),
        old_form=False,
    )
    assert made.n == 3


def test_with_a_hand_written_workload_one_argument_builds_as_ever() -> None:
    """Whatever it is called, unless it is called as the one input is."""
    given = Config({}, "cpu")
    builder = functools.partial(lambda scale, cfg: (scale, cfg), 2)
    assert make(builder, "scaled", given, {}, None, old_form=True) == (2, given)
    direct = make(torch.relu, "relu", given, {}, ("x",), old_form=False)
    assert direct is torch.relu

    def doubled(x: float) -> float:
        return 2 * x

    assert make(doubled, "doubled", given, {}, ("x",), old_form=True) is doubled


def test_what_is_written_in_c_has_no_parameters_to_ask() -> None:
    """It is taken as it is."""
    assert shape_of(torch.softmax) is None


def test_a_function_that_is_taken_for_a_factory_says_so_when_it_fails() -> None:
    """Under a hand-written Workload, which names no inputs; with what to write instead."""

    def plain(x: torch.Tensor) -> torch.Tensor:
        return x + x

    with pytest.raises(TypeError) as raised:
        make(plain, "plain", Config({}, "cpu"), {}, None, old_form=True)
    (note,) = raised.value.__notes__
    assert note.startswith("plain(x) was called with the config: under a hand-written Workload")
    assert "write def build(config): return plain" in note
