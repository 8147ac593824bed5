"""A workload is checked as itself before its first trial, whoever wrote it and in whichever form."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.driver import workload_check
from orchestrator.errors import RequestError
from orchestrator.plan.sweep import Sweep
from tests.conftest import ROOT

BY_HAND = """
import torch
from pydantic import BaseModel, ConfigDict

from orchestrator.workload import Work, Workload


class Params(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    n: int


def inputs(config, _form, seed):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(config.n, generator=generator),)


def reference(problem):
    return {}["x"]


WORKLOAD = Workload(
    name="by_hand", params=Params, inputs=inputs, reference=reference,
    work=lambda _params, _form: Work(flops=1, bytes=1),
)


def build(config):
    return lambda x: x
"""
SWEEP = """
name: by-hand
workload: ./by_hand.py:WORKLOAD
implementations: [./by_hand.py:build]
axes: {n: [16]}
"""


@pytest.mark.slow
def test_a_reference_that_raises_is_a_fault_of_the_workload(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sweep is refused before any implementation runs, and is checked anew the next time: what
    was wrong may be mended outside of the code.
    """
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(workload_check, "cache_folder", lambda: tmp_path / "cache")
    (tmp_path / "by_hand.py").write_text(BY_HAND)
    (tmp_path / "by_hand.yaml").write_text(SWEEP)
    sweep = Sweep.load(tmp_path / "by_hand.yaml")
    for _ in range(2):
        check = workload_check.begin(sweep, "cpu")
        assert check is not None
        assert check.process is not None
        with pytest.raises(RequestError, match=r"workload by_hand: reference .*KeyError"):
            check.refuse()


@pytest.mark.slow
def test_where_the_workload_was_asked_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By what tells that point from the others: of a folder of problems one may be at fault."""
    monkeypatch.setattr(workload_check, "cache_folder", lambda: tmp_path / "cache")
    (tmp_path / "by_hand.py").write_text(BY_HAND)
    text = SWEEP.replace("[16]", "[16, 32]")
    check = workload_check.begin(Sweep.parse(text, tmp_path), "cpu")
    assert check is not None
    with pytest.raises(RequestError, match=r"workload by_hand at n=16: reference .*KeyError"):
        check.refuse()


@pytest.mark.slow
def test_what_is_right_is_not_checked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the same code and params, by the same checker."""
    monkeypatch.setattr(workload_check, "cache_folder", lambda: tmp_path / "cache")
    (tmp_path / "twice.py").write_text(
        "import torch\ndef inputs(n: int): return torch.randn(n)\ndef reference(x): return x + x\n"
    )
    text = "name: s\nworkload: ./twice.py\nimplementations: ['torch:abs']\naxes: {n: [4]}\n"
    sweep = Sweep.parse(text, tmp_path)
    first = workload_check.begin(sweep, "cpu")
    assert first is not None
    first.refuse()
    again = workload_check.begin(sweep, "cpu")
    assert again is not None
    assert again.process is None
    monkeypatch.setattr(workload_check, "_checker", lambda: "a newer one")
    by_another = workload_check.begin(sweep, "cpu")
    assert by_another is not None
    assert by_another.process is not None
    by_another.stop()


def test_what_is_registered_was_checked_by_its_author() -> None:
    """A sweep of it starts no process for that."""
    assert workload_check.begin(Sweep.load(ROOT / "sweeps" / "quick.yaml"), "cpu") is None


@pytest.mark.slow
def test_of_a_folder_of_problems_each_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is wrong with any is said, of all at once."""
    monkeypatch.setattr(workload_check, "cache_folder", lambda: tmp_path / "cache")
    problem = (
        "import torch\nclass Model(torch.nn.Module):\n    def forward(self, x): return x * {}\n"
        "def get_inputs(): return [torch.randn(8)]\ndef get_init_inputs(): return []\n"
    )
    for name, factor in (("1_right", "2"), ("2_wrong", "self.two"), ("3_wrong", "three")):
        (tmp_path / f"{name}.py").write_text(problem.format(factor))
    text = "name: s\nworkload: 'kernelbench:.'\nimplementations: ['kernelbench:.']\n"
    with pytest.raises(RequestError) as refused:
        workload_check.refuse_any(Sweep.parse(text, tmp_path), "cpu")
    lines = str(refused.value).splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        "workload kernelbench at problem=2_wrong",
        "workload kernelbench at problem=3_wrong",
    ]
