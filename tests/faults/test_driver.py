"""A driver killed with SIGKILL at every step of a trial's life, and what follows when the sweep
goes on.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.isolation import proc
from tests.faults.drivers import POINTS, STORE_HALF_MADE, TOYS, TRIALS, prepare
from tests.faults.table import FAULTS
from tests.faults.trials import HERE, NAP, gone, napping

ROOT = Path(__file__).parents[2]
MARK = "TEST_OF_DRIVERS"
SLOW = {
    "answers_hugely",
    "eats_memory",
    "eats_memory_by_proxy",
    "prints_a_lot",
    "raises_at_length",
    "kills_its_parent",
}
CHAOTIC = [fault for fault in FAULTS if fault.build not in SLOW and fault.outcome != "timeout"]

ANY_TRIAL = [  # steps that every trial comes by
    "phase build", "answered", "log saved", "half a line", "journaled", "run created", "run filled",
]  # fmt: skip

Drive = Callable[..., int]


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drive]:
    """Runs a driver to its end, or to a point where it is killed; returns its exit status."""
    folder = tmp_path_factory.mktemp("drivers", numbered=False)
    log = (folder / "log").open("w")
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.drivers", f"sqlite:///{folder}/mlflow.db"], cwd=ROOT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env={**os.environ, MARK: str(folder)},
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None

    assert process.stdout.readline() == "warm\n"

    def order(folder: Path, point: str = "", count: int = 1) -> int:
        line = json.dumps({"folder": str(folder), "point": point, "count": count})
        process.stdin.write(f"{line}\n")
        process.stdin.flush()
        answer = process.stdout.readline()
        assert answer, "the process that forks drivers ended"
        return int(answer)

    yield order
    process.communicate()
    log.close()
    assert gone(lambda: [pid for pid in proc.marked(str(folder), MARK) if proc.is_alive(pid)])


@pytest.fixture
def folder(drive: Drive, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Path:
    """A sweep that has not begun, and an MLflow store that is empty: making one takes seconds."""
    prepare(tmp_path)
    (tmp_path / "mlruns").mkdir()
    for file in (tmp_path_factory.getbasetemp() / "drivers").glob("mlflow.db*"):
        shutil.copy(file, tmp_path / "mlruns")
    return tmp_path


@pytest.mark.parametrize(("point", "count"), POINTS, ids=lambda value: str(value))
def test_what_was_finished_stays_and_what_was_in_flight_runs_once_more(
    point: str, count: int, drive: Drive, folder: Path
) -> None:
    """No record is lost or made twice, no trial with a record runs again, and the runs are those of
    one sweep.
    """
    if point == STORE_HALF_MADE:
        shutil.rmtree(folder / "mlruns")
    assert drive(folder, point, count) == -signal.SIGKILL
    assert gone(lambda: _of(folder))
    kept, ran = _whole_lines(folder), _ledger(folder)

    assert drive(folder) == 0

    lines = _whole_lines(folder)
    assert lines[: len(kept)] == kept
    records = [json.loads(line) for line in lines]
    assert [(record["params"]["n"], record["attempt"]) for record in records] == [
        (n, 1) for n in TRIALS
    ]
    assert [record["outcome"] for record in records] == ["ok", "ok", "failed", "ok"]
    finished = {json.loads(line)["params"]["n"] for line in kept}
    again = Counter(_ledger(folder)) - Counter(TRIALS)
    assert set(again) <= set(ran) - finished
    assert sum(again.values()) <= 1
    assert all(
        (folder / "out" / "logs" / f"{record['trial_id']}.log").exists() for record in records
    )
    _check_runs(folder, records)
    assert gone(lambda: _of(folder))


@pytest.mark.parametrize(
    ("seed", "points", "kills"), [(20261122, 2, 5), pytest.param(7, 10, 25, marks=pytest.mark.slow)],
    ids=["short", "long"],
)  # fmt: skip
def test_a_sweep_of_faults_whose_driver_is_killed_at_random(
    seed: int, points: int, kills: int, drive: Drive, folder: Path
) -> None:
    """Every fault at every point, the driver killed again and again: one record a trial, the
    fault's own outcome.
    """
    draw = random.Random(seed)
    entries = [
        f"{{use: '{HERE}/faulty.py:{fault.build}', label: {fault.build}}}" for fault in CHAOTIC
    ]
    (folder / "sweep.yaml").write_text(
        f"name: doomed\nworkload: {TOYS}/matmul.py:WORKLOAD\nimplementations: [{', '.join(entries)}]\n"
        f"axes: {{n: {list(range(points))}, options.nap: ['{NAP}']}}\nresources: {{timeout_s: 20}}\n"
    )
    killed = [drive(folder, draw.choice(ANY_TRIAL), draw.randint(1, 5)) for _ in range(kills)]
    assert set(killed) <= {-signal.SIGKILL, 0}
    assert killed[0] == -signal.SIGKILL
    assert drive(folder) == 0

    records = [json.loads(line) for line in _whole_lines(folder)]
    last = {record["trial_id"]: record for record in records}
    expected = {fault.build: fault.outcome for fault in CHAOTIC}
    assert len(last) == points * len(CHAOTIC)
    assert {record["implementation"]: record["outcome"] for record in last.values()} == expected
    assert len(records) == len(last)
    statuses, tags = _runs(folder)
    assert sorted(tags) == sorted(last)
    assert "RUNNING" not in statuses
    assert gone(napping)
    assert gone(lambda: _of(folder))


def _runs(folder: Path) -> tuple[set[str], list[str]]:
    from orchestrator.trackers.mlflow_store import MlflowClient

    client = MlflowClient(f"sqlite:///{folder}/mlruns/mlflow.db")
    runs = client.search_runs(
        [client.get_experiment_by_name("doomed").experiment_id], max_results=5000
    )
    return {run.info.status for run in runs}, [
        run.data.tags["trial_id"] for run in runs if "trial_id" in run.data.tags
    ]


def _whole_lines(folder: Path) -> list[bytes]:
    path = folder / "out" / "results.jsonl"
    data = path.read_bytes() if path.exists() else b""
    return data[: data.rfind(b"\n") + 1].splitlines()


def _ledger(folder: Path) -> list[int]:
    path = folder / "ledger"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def _check_runs(folder: Path, records: list[dict[str, str]]) -> None:
    """One ended run a trial, one for the sweep; none of anybody runs."""
    from orchestrator.trackers.mlflow_store import MlflowClient

    client = MlflowClient(f"sqlite:///{folder}/mlruns/mlflow.db")
    meta = json.loads((folder / "out" / "sweep.resolved.json").read_text())
    experiment = client.get_experiment_by_name("doomed")
    runs = client.search_runs([experiment.experiment_id], f"tags.sweep_id = '{meta['sweep_id']}'")
    children = [run for run in runs if run.data.tags["kind"] == "trial"]
    assert sorted(run.data.tags["trial_id"] for run in children) == sorted(
        record["trial_id"] for record in records
    )
    assert Counter(run.info.status for run in children) == {"FINISHED": 3, "FAILED": 1}
    (parent,) = [run for run in runs if run.data.tags["kind"] == "sweep"]
    assert parent.info.status == "FINISHED"
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    files = {file.path for file in client.list_artifacts(parent.info.run_id)}
    assert {"sweep.yaml", "summary.txt", "report.html"} <= files


def _of(folder: Path) -> list[int]:
    """The processes of the drivers' attempts that live on: each has its sweep's folder as current
    directory.
    """
    found = []
    for pid in proc.every_pid():
        try:
            here = Path(f"/proc/{pid}/cwd").readlink() == folder
        except OSError:
            continue
        if here and proc.is_alive(pid):
            found.append(pid)
    return found
