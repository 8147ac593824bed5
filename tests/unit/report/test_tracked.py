"""The footer leads to the runs in the MLflow UI."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.report.layout import Layout
from orchestrator.report.table import footer
from orchestrator.results.meta import Tracked
from orchestrator.results.results import Results


def test_a_sweep_that_was_tracked_says_where_and_what_opens_it(all_ok: Results) -> None:
    """The address of its own view; what to run first, unless a server answers by itself."""
    address = "http://127.0.0.1:5000/#/experiments/1/runs?viewStateShareKey=x"
    command = "python -m orchestrator.trackers.ui sqlite:////data/runs.db"
    stored = footer(Layout.of(replace(all_ok, tracked=Tracked(address, command))))
    assert f"Runs: {address}" in stored
    assert [command, "open the runs in the MLflow UI"] in [
        [part.strip() for part in line.split("#")] for line in stored
    ]
    served = footer(Layout.of(replace(all_ok, tracked=Tracked(address))))
    assert f"Runs: {address}" in served
    assert not any("MLflow UI" in line for line in served)
