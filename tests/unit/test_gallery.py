"""The gallery: of each workload the right implementations are right, and the wrong one is caught."""

import ast
from pathlib import Path

import pytest
import torch

from orchestrator.outcome import Outcome
from orchestrator.plan.sweep import Sweep
from orchestrator.usercode.workload_check import problems
from tests.support.attempts import attempts_of, recorded

ROOT = Path(__file__).parents[2]
SWEEPS = sorted((ROOT / "sweeps" / "gallery").glob("*.yaml"))
SMALL = {
    "adamw": ["axes.size=[1000]"],
    "cross_entropy": ["axes.rows=[32]", "axes.classes=[50]"],
    "cumsum": ["axes.rows=[4]", "axes.width=[512]"],
    "fp8_matmul": ["axes.m=[32]", "axes.n=[32]", "axes.k=[160]"],
    "histogram": ["axes.size=[5000]"],
    "kv_cache": ["axes.tokens=[10]", "axes.blocks=[4]"],
    "matmul": ["axes.m=[32]", "axes.n=[16]", "axes.k=[100]", "axes.dtype=[float32]"],
    "moe": ["axes.tokens=[24]"],
    "paged_attention": ["axes.batch=[3]", "axes.longest=[40]"],
    "quantise": ["axes.rows=[8]"],
    "rmsnorm_residual": ["axes.rows=[8]", "axes.width=[64]"],
    "rope": ["axes.tokens=[8]"],
    "softmax": ["axes.rows=[8]"],
    "sort": ["axes.size=[3000]"],
    "swiglu": ["axes.rows=[8]", "axes.width=[64]"],
    "topk": ["axes.rows=[8]", "axes.width=[200]"],
    "transformer_block": ["axes.tokens=[24]", "axes.width=[32]", "axes.heads=[2]"],
}


@pytest.fixture(autouse=True)
def one_thread():
    """Calls this small take the time that threads wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def wrong(path: Path) -> set[str]:
    """The implementations of a file that say of themselves that they are wrong."""
    functions = [
        node for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)
    ]
    return {node.name for node in functions if (ast.get_docstring(node) or "").startswith("Wrong")}


@pytest.mark.slow
@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_a_workload_of_the_gallery_catches_what_is_wrong_alone(path):
    """At a small shape, each implementation in turn; and the workload itself has nothing wrong with
    it.
    """
    sweep = Sweep.load(path, SMALL[path.stem])
    expected = wrong(path.parent / sweep.spec.workload)
    assert len(expected) == 1
    assert problems(sweep.workload, sweep.params(sweep.trials[0]), "cpu") == []
    records = {attempt.trial.implementation: recorded(attempt) for attempt in attempts_of(sweep)}
    assert len(records) >= 3
    found = {
        outcome: {name for name, record in records.items() if record.outcome is outcome}
        for outcome in (Outcome.MISMATCH, Outcome.UNSUPPORTED, Outcome.OK)
    }
    unsupported = {"library"} if path.stem == "fp8_matmul" else set()
    said = {name: record.error for name, record in records.items()}
    assert found[Outcome.MISMATCH] == expected, said
    assert found[Outcome.UNSUPPORTED] == unsupported, said
    assert found[Outcome.OK] == set(records) - expected - unsupported, said
    assert len(found[Outcome.OK]) >= 2


@pytest.mark.slow
def test_floats_of_eight_bits_are_outputs_too():
    """Where the reference casts to them; the scales beside them stay as they are."""
    path = ROOT / "sweeps" / "gallery" / "quantise.yaml"
    sweep = Sweep.load(path, ["axes.rows=[8]", "axes.to=[float8_e4m3fn]"])
    records = {attempt.trial.implementation: recorded(attempt) for attempt in attempts_of(sweep)}
    assert {name: record.outcome for name, record in records.items()} == {
        "divided": Outcome.OK,
        "by_amax": Outcome.OK,
        "one_scale": Outcome.MISMATCH,
    }


def test_every_sweep_of_the_gallery_plans():
    """At the sizes that it states, with a baseline."""
    assert len(SWEEPS) >= 12
    for path in SWEEPS:
        sweep = Sweep.load(path)
        assert sweep.spec.baseline == sweep.spec.implementations[0].label
