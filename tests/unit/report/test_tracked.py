"""The footer leads to the runs in the MLflow UI."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from orchestrator.report.layout import Layout
from orchestrator.report.table import footer
from orchestrator.results.meta import Tracked
from orchestrator.results.results import Results
from orchestrator.spec.models import TrackingSpec


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


def test_a_sweep_that_is_read_again_opens_the_store_that_its_runs_are_in(
    all_ok: Results, tmp_path: Path
) -> None:
    """As its file or --tracking-uri said, and not the default one."""
    for uri, command in (
        (None, "orchestrator ui"),
        ("sqlite:////data/runs.db", "orchestrator ui sqlite:////data/runs.db"),
        ("http://mlflow:5000", None),
    ):
        spec = all_ok.meta.spec.model_copy(update={"tracking": TrackingSpec(uri=uri)})
        read = replace(
            all_ok, meta=all_ok.meta.model_copy(update={"spec": spec}), directory=tmp_path
        )
        lines = footer(Layout.of(read))
        found = [line.split("#")[0].strip() for line in lines if "open the runs" in line]
        assert found == ([] if command is None else [command])
