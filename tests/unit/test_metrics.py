"""Every metric stands in one table: what the worker reports, what the guide explains, what can be
searched.
"""

import ast
import re
from pathlib import Path

import pytest

from orchestrator.metrics import METRICS, SEARCHABLE, Pooling, known
from tests.support.attempts import attempt, recorded

ROOT = Path(__file__).parents[2]
UNITS = re.compile(r"[a-z0-9_]+_(ms|mib|pct|per_s|per_call|per_token)")
NO_METRICS = {  # names with a unit that are fields of something else
    "values_ms", "cut_above_ms", "matmul_flops_per_s", "copy_bytes_per_s", "matmul_ms", "copy_ms", "launch_ms",
    "interpreter_ms",
}  # fmt: skip


@pytest.mark.slow
def test_every_metric_of_a_record_is_in_the_table():
    """What an attempt on this machine reports has a label, a unit and a rule for its rounds."""
    record = recorded(attempt("honest"))
    assert record.metrics
    assert set(record.metrics) <= set(METRICS)


def test_every_name_with_a_unit_in_the_code_that_measures_is_in_the_table():
    """Figures of a GPU and of ranks too, which no attempt on a CPU reports."""
    found = set()
    for package in ("worker", "measure", "supervisor", "verify"):
        for file in (ROOT / "orchestrator" / package).glob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if (
                    isinstance(node, ast.Constant)
                    and isinstance(node.value, str)
                    and UNITS.fullmatch(node.value)
                ):
                    found.add(node.value)
    assert found - NO_METRICS <= set(METRICS)
    assert {"joules_per_call", "cold_latency_ms", "reserved_mib"} <= found


def test_the_guide_explains_every_metric():
    """docs/reading-the-report.md names each of them."""
    guide = (ROOT / "docs" / "reading-the-report.md").read_text()
    missing = [name for name in METRICS if f"`{name}`" not in guide]
    assert missing == []


def test_a_search_may_ask_for_figures_and_not_for_what_was_allowed():
    """What can be searched follows from the table."""
    assert "joules_per_call" in SEARCHABLE
    assert "error_budget" not in SEARCHABLE


def test_memory_pools_by_the_worst_round_and_first_calls_by_the_median():
    """Also a metric that only a workload of a user's knows."""
    assert known("peak_memory_mib").pooled([1.0, 3.0, 2.0]) == 3.0
    assert known("first_call_ms").pooled([1.0, 9.0, 2.0]) == 2.0
    assert known("scratch_mib").pooled([1.0, None, 2.0]) == 2.0
    assert known("keys_per_s").pooling is Pooling.RATE
    assert known("relative_error").pooled([None, None]) is None
