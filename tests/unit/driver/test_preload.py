"""What fork servers import once for all trials of a sweep."""

from __future__ import annotations

from pathlib import Path

from orchestrator.driver.preload import GRADIENTS, preload
from orchestrator.plan.sweep import Sweep

WORKLOAD = """
import torch

def inputs(n: int):
    return torch.randn(n, n)

def reference(x):
    return x @ x

def product(x):
    return x @ x
"""
STATED = "\n\ndef work(n):\n    return {'flops': 2 * n**3, 'bytes': 8 * n * n}\n"
SWEEP = """
name: product
workload: ./product.py
implementations: [./product.py:product]
axes: {n: [16]}
"""


def test_what_counting_the_work_imports_is_there_before_the_first_trial(tmp_path: Path) -> None:
    """Where the workload states its work nothing is counted, and nothing is imported for it."""
    (tmp_path / "product.yaml").write_text(SWEEP)
    (tmp_path / "product.py").write_text(WORKLOAD)
    assert preload(Sweep.load(tmp_path / "product.yaml")) == ("torch._dynamo",)
    (tmp_path / "product.py").write_text(WORKLOAD + STATED)
    assert preload(Sweep.load(tmp_path / "product.yaml")) == ()


def test_what_the_first_gradient_imports_is_there_where_trials_have_one(tmp_path: Path) -> None:
    """Of a workload's file that says so, and of one whose params do."""
    sweep = tmp_path / "product.yaml"
    sweep.write_text(SWEEP)
    (tmp_path / "product.py").write_text("backward = True\n" + WORKLOAD + STATED)
    assert preload(Sweep.load(sweep)) == (GRADIENTS,)
    quick = Path(__file__).parents[3] / "sweeps/quick.yaml"
    assert GRADIENTS not in preload(Sweep.load(quick))
    both = ["axes.direction=[forward, forward_backward]"]
    assert GRADIENTS in preload(Sweep.load(quick, both))
