"""A frontier and a search on the real Ray: driver killed, gone on with, over two slots, shown in
MLflow.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.outcome import Outcome
from orchestrator.results import proposals, sweep_directory
from tests.integration.test_ray import FAST, ROOT, TOYS, command, records_of, run

FRONTIER = (
    f"name: hungry\nworkload: {TOYS}/hungry.py:WORKLOAD\nimplementations: ['{TOYS}/hungry.py:build']\n"
    "axes: {times: [1, 2], mib: {low: 128, high: 2048, step: 128}}\nfrontier: {axis: mib}\n"
    f"measure: {FAST}\nresources: {{host_memory_gib: 1.25}}\nmax_concurrent: 2\n"
)


@pytest.fixture(scope="module")
def killed_and_gone_on_with(
    tmp_path_factory: pytest.TempPathFactory, give_store: Callable[[Path], None]
) -> tuple[Path, int, dict[str, object]]:
    """(its folder, how many probes had ended when the driver was killed, what `resume --json`
    printed).
    """
    folder = tmp_path_factory.mktemp("frontier")
    give_store(folder)
    (folder / "sweep.yaml").write_text(FRONTIER)
    process = subprocess.Popen(
        command("sweep.yaml", "--output", "out", "--quiet"), cwd=folder, stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    journal = folder / "out" / "results.jsonl"
    until = time.monotonic() + 180
    while (
        not (journal.exists() and journal.read_bytes().count(b"\n") >= 3)
        and time.monotonic() < until
    ):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=30)
    finished = len(records_of(folder / "out"))
    done = run(folder, "resume", "out", "--quiet", "--json")
    assert done.returncode == 0, done.stderr
    return folder, finished, json.loads(done.stdout)


def test_a_frontier_is_found_although_its_driver_was_killed(killed_and_gone_on_with) -> None:
    """By few probes, none of them made twice, two at a time; twice over it is half as far."""
    folder, finished, printed = killed_and_gone_on_with
    once, twice = printed["answers"]
    assert (once["metric"], once["point"], twice["point"]) == (
        "max_mib",
        {"times": 1},
        {"times": 2},
    )
    assert 512 <= once["value"] <= 1152
    assert abs(twice["value"] - once["value"] / 2) <= 128
    assert once["beyond"] == {"value": once["value"] + 128, "outcome": "oom"}
    records = records_of(folder / "out")
    assert 3 <= finished < len(records) <= 16
    assert (
        len({record["trial_id"] for record in records})
        == len(records)
        == len(proposals.read(folder / "out"))
    )


def test_its_answers_are_a_table_a_metric_and_part_of_the_page(killed_and_gone_on_with) -> None:
    """In every file of the sweep."""
    folder, _, _ = killed_and_gone_on_with
    results = sweep_directory.load(folder / "out")
    (best,) = [row for row in results.rows if row.value("times") == 1 and "max_mib" in row.metrics]
    assert best.metrics["max_mib"] == best.value("mib")
    assert results.rows[-1].outcome is Outcome.OOM
    for name in ("summary.txt", "summary.md", "report.html"):
        assert "Largest MiB that fits" in (folder / "out" / name).read_text()
    assert "max_mib" in (folder / "out" / "results.csv").read_text().splitlines()[0]


def test_its_answers_are_metrics_in_mlflow(killed_and_gone_on_with) -> None:
    """Of the run that gives it, and of the sweep's own run, one per cell."""
    from mlflow.tracking import MlflowClient

    folder, _, printed = killed_and_gone_on_with
    client = MlflowClient(f"sqlite:///{folder}/mlruns/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("hungry").experiment_id])
    values = {answer["trial_id"]: answer["value"] for answer in printed["answers"]}
    marked = {found.data.tags.get("trial_id"): found.data.metrics.get("max_mib") for found in runs}
    assert {trial_id: value for trial_id, value in marked.items() if value is not None} == values
    (parent,) = [found for found in runs if "mlflow.parentRunId" not in found.data.tags]
    named = {
        name: value for name, value in parent.data.metrics.items() if name.startswith("max_mib")
    }
    assert named == {
        f"max_mib hungry times:{times}": value
        for times, value in zip((1, 2), values.values(), strict=True)
    }
