"""The work of a call, where its workload states none, is counted by calling the reference."""

from pathlib import Path

import pytest

from orchestrator.outcome import Outcome
from orchestrator.record import TrialRecord
from tests.support.attempts import attempt, recorded

PRODUCT = """
import torch

def inputs(n: int, dtype: torch.dtype = torch.float32):
    return torch.randn(n, n, dtype=dtype), torch.randn(n, n, dtype=dtype)

def reference(a, b):
    {first}
    return a @ b

def by_torch(a, b):
    return torch.matmul(a, b)
"""


def _record(folder: Path, first: str) -> TrialRecord:
    """Of a product whose reference begins with this statement."""
    (folder / "product.py").write_text(PRODUCT.format(first=first))
    made = attempt(
        "by_torch", use="./product.py:by_torch", workload="./product.py", base_dir=folder
    )
    trial = made.trial.model_copy(update={"params": {"n": 16, "dtype": "float32"}})
    return recorded(made.model_copy(update={"trial": trial}))


@pytest.mark.slow
def test_flops_are_counted_where_the_reference_can_be_called(tmp_path: Path) -> None:
    """2 n^3 of them, and the note says that they are counted."""
    record = _record(tmp_path, "pass")
    assert record.outcome is Outcome.OK, record.error
    assert record.metrics is not None
    assert record.metrics["tflops_per_s"] == pytest.approx(
        2 * 16**3 / record.metrics["latency_ms"] / 1e9, rel=1e-3
    )
    assert [note for note in record.notes if "FLOPs of the reference's products" in note]


@pytest.mark.slow
def test_a_reference_that_raises_where_it_is_counted_costs_the_flops_alone(tmp_path: Path) -> None:
    """A reference that computes in float64 alone is right to refuse the trial's own dtype."""
    record = _record(tmp_path, "assert a.dtype is torch.float64, 'in float64 alone'")
    assert record.outcome is Outcome.OK, record.error
    assert record.metrics is not None
    assert record.metrics["tflops_per_s"] is None
    assert record.metrics["gb_per_s"] > 0
    said = [note for note in record.notes if "FLOPs were not counted" in note]
    assert len(said) == 1
    assert "in float64 alone" in said[0]
