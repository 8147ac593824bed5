"""Figures of a workload's own, by formulas over its work, the time of a call and the params."""

import pytest

from orchestrator.worker.rates import own_metrics, rates
from orchestrator.workload import Work


def test_work_that_nobody_stated_has_no_rate() -> None:
    """0 TFLOP/s would be a claim."""
    work = Work(flops=0.0, bytes=1e9)
    found = rates(
        work, 0.5, None, "float32", 1, lambda: pytest.fail("nothing to compare with")
    ).figures
    assert found["tflops_per_s"] is None
    assert found["gb_per_s"] == 2.0


def test_a_formula_gives_a_figure_and_what_gives_none_is_noted() -> None:
    """Keys in a second follow from a param; what needs tokens has none where the work has none."""
    formulas = {
        "keys_per_s": "size / seconds",
        "gb": "bytes / 1e9",
        "tokens_per_ms": "tokens / seconds / 1000",
    }
    figures, notes = own_metrics(formulas, Work(flops=1.0, bytes=2e9), 0.5, {"size": 100})
    assert figures == {"keys_per_s": 200.0, "gb": 2.0, "tokens_per_ms": None}
    assert len(notes) == 1
    assert "the metric tokens_per_ms cannot be worked out" in notes[0]
