"""The first wrong elements of every kind of output, in `try` and in the script of `repro`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from orchestrator.cli.trying import repro, try_one, try_target
from orchestrator.cli.trying.wrong_elements import wrong_elements
from orchestrator.outcome import Outcome
from orchestrator.plan.sweep import Sweep
from orchestrator.results import sweep_directory
from tests.conftest import ROOT
from tests.support import made

GALLERY = ROOT / "sweeps" / "gallery"


def lines_of(sweep: str, label: str) -> list[str]:
    """What `try` prints of one implementation of the gallery."""
    file = str(GALLERY / f"{sweep}.yaml")
    selection = try_target.attempts(file, only=f"implementation == '{label}'")
    found = try_one.run(selection.attempts[0], check=True)
    assert found.outcome is Outcome.MISMATCH
    return list(found.lines)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sweep", "label", "element"),
    [
        ("rope", "neighbours", "q[1, 0, 0]"),  # written in place
        ("quantise", "one_scale", "scale[0, 0]"),  # the second of two outputs
        ("histogram", "lost_updates", "output[0]"),  # integers
        ("softmax", "unshifted", "output["),  # NaN
    ],
)
def test_each_kind_of_output_shows_its_own(sweep: str, label: str, element: str) -> None:
    """By the name of the output, where there are several."""
    lines = lines_of(sweep, label)
    assert any("elements are wrong" in line for line in lines)
    assert any(element in line for line in lines)


def test_outputs_without_names_are_taken_in_the_reference_s_order() -> None:
    """A tuple answers for outputs that the reference names; one that is missing is named."""
    right = {"values": torch.tensor([3.0, 2.0]), "indices": torch.tensor([1, 0])}
    given = {"[0]": torch.tensor([3.0, 2.0]), "[1]": torch.tensor([1, 1])}
    lines = wrong_elements(given, right, 1e-6)
    assert lines[0].startswith("  every element of values is right: within")
    assert "indices[1]    1      0" in lines[-1]
    assert "values is missing" in wrong_elements({}, right, 1e-6)[0]


def test_infinities_and_shapes_are_compared_as_they_are() -> None:
    """The same infinity is right; another shape is said, with what was expected."""
    right = torch.tensor([[float("inf"), float("nan"), 1.0]])
    assert "within" in wrong_elements({"output": right.clone()}, right, 1e-6)[0]
    for infinite in (float("inf"), float("nan")):
        right_there = torch.tensor([[infinite, 1.0, 2.0, 3.0]])
        given = torch.tensor([[0.0, 1.0, 2.0, 4.0]])
        lines = wrong_elements({"output": given}, right_there, 1e-6)
        assert "2 of 4 elements are wrong" in lines[0], lines
        assert [line.split()[0:2] for line in lines[2:]] == [
            ["output[0,", "0]"],
            ["output[0,", "3]"],
        ]
    lines = wrong_elements({"output": torch.zeros(3, 1)}, right, 1e-6)
    assert "returned shape (3, 1), expected (1, 3): a transpose" in lines[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sweep", "label", "said"),
    [("rope", "neighbours", "q[1, 0, 0]"), ("cross_entropy", "over_all_rows", "1 of 1 elements")],
)
def test_the_script_of_a_row_shows_them_too(
    tmp_path: Path, sweep: str, label: str, said: str
) -> None:
    """With inputs written in place, and with integers beside inputs that have gradients."""
    loaded = Sweep.load(GALLERY / f"{sweep}.yaml", [], f"implementation == '{label}'")
    meta = made.results(loaded.trials, []).meta.model_copy(
        update={"spec": loaded.spec, "base_dir": loaded.base_dir, "device": "cpu"}
    )
    directory = tmp_path / "results"
    sweep_directory.create(directory, meta, (GALLERY / f"{sweep}.yaml").read_text())
    trial_id = loaded.trials[0].trial_id
    path = repro.write(trial_id, str(directory), str(tmp_path / "repro.py"))
    done = subprocess.run(
        [sys.executable, str(path), "--calls", "2"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert said in done.stdout
    assert "median of 2 calls" in done.stdout


def test_what_rounding_to_its_own_dtype_explains_is_not_wrong() -> None:
    """Where the workload computes in float32 and returns less; one digit more is."""
    right = torch.linspace(1, 2, 64, dtype=torch.float64).reshape(4, 16)
    for dtype in (torch.bfloat16, torch.float16, torch.float8_e4m3fn):
        (line,) = wrong_elements({"output": right.to(dtype)}, right, 1e-5, was_wrong=False)
        assert line == "  every element of output is right: within ten times what rounding explains"
    assert "elements are wrong" in wrong_elements({"output": 1.02 * right}, right, 1e-5)[0]
    of_half = {"output": (1.02 * right).to(torch.float16)}
    assert "elements are wrong" in wrong_elements(of_half, right, 1e-5)[0]


def test_an_output_without_wrong_elements_of_a_wrong_row_says_where_to_look() -> None:
    """Integers as well as floats; of a row that is right nothing is hinted at."""
    right = {"values": torch.ones(2, 2, dtype=torch.float64), "index": torch.zeros(2, dtype=int)}
    given = {"values": torch.ones(2, 2), "index": torch.zeros(2, dtype=int)}
    for line in wrong_elements(given, right, 1e-5):
        assert line.endswith("shows in other calls or outputs only")
    for line in wrong_elements(given, right, 1e-5, was_wrong=False):
        assert line.endswith("what rounding explains")


def test_a_trial_is_described_with_the_spaces_of_its_texts() -> None:
    """In quotes, to be pasted; lists without."""
    axes = {"problem": ["6 with space"], "sizes": [[1, 2]], "n": [4]}
    (trial,) = made.trials(["answers"], axes)
    attempt = SimpleNamespace(trial=trial, device="cpu")
    assert try_one.describe(attempt).endswith("problem='6 with space' sizes=[1,2] n=4")  # type: ignore[arg-type]


def test_wrong_8_bit_floats_are_shown() -> None:
    """Of which torch cannot say whether they are finite."""
    right = torch.tensor([1.0, 2.0, 4.0]).to(torch.float8_e4m3fn)
    wrong = torch.tensor([1.0, 3.0, 4.0]).to(torch.float8_e4m3fn)
    lines = wrong_elements({"output": wrong}, right, 1e-2)
    assert lines[0].startswith("  1 of 3 elements are wrong")
    assert lines[-1].split() == ["output[1]", "3", "2"]
