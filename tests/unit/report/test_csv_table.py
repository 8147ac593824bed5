"""results.csv holds what was measured, and nothing that a program that opens it would run."""

from __future__ import annotations

import csv
import io

import pytest

from orchestrator.metrics import METRICS, ROW_COLUMNS
from orchestrator.outcome import Outcome
from orchestrator.record import ErrorInfo, KernelShare
from orchestrator.report.csv_table import csv_text
from orchestrator.report.layout import Layout
from tests.support import made

PLANNED = made.trials(["standard"], {"batch": [1], "seq_len": [64], "heads": [1]}, dtype="float32")


def cell(message: str) -> str:
    """The message of a failed row as a reader of the file finds it, where there is one row."""
    record = made.bad(PLANNED[0], Outcome.FAILED).model_copy(
        update={"error": ErrorInfo(kind="RuntimeError", message=message)}
    )
    text = csv_text(Layout.of(made.results(PLANNED, [record])))
    assert "\r" not in text
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert len(rows) == 1
    return rows[0]["error_message"]


@pytest.mark.parametrize(
    "text", ['=HYPERLINK("http://x")', "+1+cmd|'/C calc'!A0", "-2+3", "@SUM(A1)", "\t=1"]
)
def test_a_message_that_a_spreadsheet_takes_for_a_formula_is_text(text: str) -> None:
    """By an apostrophe before it."""
    assert cell(text) == f"'{text}"


@pytest.mark.parametrize("text", ["-3.5", "+2", "-1e-3", "a=b", "plain", ""])
def test_numbers_and_ordinary_text_stay_as_they_are(text: str) -> None:
    """A negative number is none."""
    assert cell(text) == text


def test_a_carriage_return_makes_no_further_row() -> None:
    """Compilers and progress bars print them."""
    assert cell("10 %\r20 %\r\nfailed") == "10 %\n20 %\nfailed"


def test_what_was_profiled_and_percentiles_have_columns() -> None:
    """Kernels with share and count, where a row has any; percentiles of every repetition."""
    record = made.ok(PLANNED[0])
    assert "kernels" not in csv_text(Layout.of(made.results(PLANNED, [record]))).splitlines()[0]
    kernels = (KernelShare(name="aten::mm", count=2, share=0.75),)
    values = tuple(map(float, range(1, 102)))
    record = record.model_copy(update={"kernels": kernels, "values_ms": values})
    text = csv_text(Layout.of(made.results(PLANNED, [record])))
    (row,) = csv.DictReader(io.StringIO(text, newline=""))
    assert row["kernels"] == "aten::mm 75.0% (2 x)"
    found = [float(row[f"latency_{name}_ms"]) for name in ("min", "p5", "p50", "p95")]
    assert found == [1.0, 6.0, 51.0, 96.0]


def test_a_metric_with_the_name_of_a_column_of_ours_takes_another() -> None:
    """Its journal is older than the rule that refuses it: nothing of the row is lost."""
    record = made.ok(PLANNED[0])
    own = {**(record.metrics or {}), "outcome": 7.0, "keys_per_s": 3.0}
    results = made.results(PLANNED, [record.model_copy(update={"metrics": own})])
    (row,) = csv.DictReader(io.StringIO(csv_text(Layout.of(results)), newline=""))
    assert (row["outcome"], row["metrics.outcome"], row["keys_per_s"]) == ("ok", "7.0", "3.0")


def test_every_column_is_a_param_a_metric_or_of_every_row() -> None:
    """Which is what a workload's own metrics must not be named like."""
    record = made.ok(PLANNED[0]).model_copy(
        update={"kernels": (KernelShare(name="aten::mm", count=2, share=0.75),)}
    )
    text = csv_text(Layout.of(made.results(PLANNED, [record])))
    columns = set(text.splitlines()[0].split(","))
    assert columns - set(METRICS) - set(PLANNED[0].params) == set(ROW_COLUMNS)
