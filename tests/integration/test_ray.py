"""Sweeps on the real Ray, with real processes, a real journal and a real MLflow store."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from orchestrator.outcome import Outcome
from orchestrator.results import sweep_directory

pytestmark = pytest.mark.usefixtures("ready_store")  # but for `faulty_sweep`, which makes its own
ROOT = Path(__file__).parents[2]
TOYS = Path(__file__).parent / "toys"
BRIEF = "min_time_s: 0.01, max_time_s: 0.2, warmup_s: 0.0, min_repetitions: 1, target_ci: 0.5, remeasure: 0"
CALIBRATED = f"{{{BRIEF}}}"
FAST = (
    f"{{{BRIEF}, sentinels: false, ceilings: false}}"  # where the machine's own speed is no matter
)


def sweep_text(implementations: str, n: str = "[16]", more: str = "", measure: str = FAST) -> str:
    return (
        f"name: toy\nworkload: {TOYS}/matmul.py:WORKLOAD\nimplementations: {implementations}\n"
        f"axes: {{n: {n}}}\nmeasure: {measure}\n{more}"
    )


def toy(*names: str) -> str:
    return (
        "["
        + ", ".join(f"{{use: '{TOYS}/matmul.py:{name}', label: {name}}}" for name in names)
        + "]"
    )


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "orchestrator", *map(str, arguments)]


def run(
    folder: Path, *arguments: str | Path, timeout: float = 300, **env: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments),
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200", **env},
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def records_of(directory: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (directory / "results.jsonl").read_text().splitlines()]


def left_of(folder: Path) -> list[str]:
    """Processes that were started by a sweep in this folder and are still there."""
    found = []
    for process in psutil.process_iter(["environ", "cmdline"]):
        environ = process.info["environ"] or {}
        if environ.get("PWD_OF_TEST") == str(folder):
            found.append(" ".join(process.info["cmdline"] or []))
    return found


@pytest.fixture(scope="module")
def faulty_sweep(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """One sweep of everything that can go wrong in the skeleton, between two implementations that
    are right.
    """
    folder = tmp_path_factory.mktemp("faulty")
    names = ("forgets_a_transpose", "raises", "dies", "hangs", "eats_memory", "right")
    limits = "resources: {timeout_s: 20, host_memory_gib: 1.0}\n"
    (folder / "sweep.yaml").write_text(sweep_text(toy(*names), more=limits, measure=CALIBRATED))
    return folder, run(folder, "sweep.yaml", "--output", "out", "--json", PWD_OF_TEST=str(folder))


def test_each_fault_is_one_row_and_its_neighbours_are_untouched(faulty_sweep):
    """A mismatch, an exception, a signal, a hang and an out-of-memory each end as their own row."""
    _, done = faulty_sweep
    outcomes = {row["implementation"]: row["outcome"] for row in json.loads(done.stdout)["rows"]}
    assert outcomes == {
        "forgets_a_transpose": "mismatch",
        "raises": "failed",
        "dies": "crashed",
        "hangs": "timeout",
        "eats_memory": "oom",
        "right": "ok",
    }
    assert done.returncode == 1


def test_only_the_right_one_has_numbers(faulty_sweep):
    """No time is reported for an output that was not verified."""
    folder, _ = faulty_sweep
    for record in records_of(folder / "out"):
        assert (record["metrics"] is not None) == (record["implementation"] == "right")
        assert (record["values_ms"] is not None) == (record["implementation"] == "right")


def test_a_fault_says_what_happened_and_which_log_to_open(faulty_sweep):
    """The message names the exception or signal; the log holds the traceback."""
    folder, _ = faulty_sweep
    errors = {record["implementation"]: record["error"] for record in records_of(folder / "out")}
    assert "the tiles do not fit" in errors["raises"]["message"]
    assert "SIGSEGV" in errors["dies"]["message"]
    assert "Traceback" in (folder / "out" / errors["raises"]["log"]).read_text()


def test_nothing_is_left_running(faulty_sweep):
    """Soon after a sweep no process of it is alive."""
    folder, _ = faulty_sweep
    until = time.monotonic() + 60
    while left_of(folder) and time.monotonic() < until:
        time.sleep(0.2)
    assert left_of(folder) == []


def test_nobody_chatters(faulty_sweep):
    """Neither Ray nor MLflow writes to the terminal."""
    _, done = faulty_sweep
    noise = [
        line
        for line in done.stderr.splitlines()
        if "this machine is busy" not in line  # which names others' processes, Ray's say
        and any(word in line for word in ("raylet", "ray::", "WARNING", "INFO mlflow", "alembic"))
    ]
    assert noise == []


def test_runs_are_in_mlflow(faulty_sweep):
    """A parent run and one child run per trial, in the sqlite store under mlruns/."""
    from mlflow.tracking import MlflowClient

    folder, _ = faulty_sweep
    client = MlflowClient(f"sqlite:///{folder}/mlruns/mlflow.db")
    experiment = client.get_experiment_by_name("toy")
    runs = client.search_runs([experiment.experiment_id])
    children = [found for found in runs if "mlflow.parentRunId" in found.data.tags]
    assert sorted(child.data.tags["outcome"] for child in children) == [
        "crashed",
        "failed",
        "mismatch",
        "ok",
        "oom",
        "timeout",
    ]
    (parent,) = [found for found in runs if "mlflow.parentRunId" not in found.data.tags]
    assert {child.data.tags["mlflow.parentRunId"] for child in children} == {parent.info.run_id}


def test_a_killed_supervisor_is_made_good(tmp_path):
    """Its attempt is `lost` and made again; both attempts are in the journal."""
    (tmp_path / "sweep.yaml").write_text(sweep_text(toy("kills_its_supervisor", "right")))
    done = run(
        tmp_path,
        "sweep.yaml",
        "--output",
        "out",
        "--quiet",
        SUPERVISOR_KILLED=str(tmp_path / "killed"),
    )
    outcomes = [
        (record["implementation"], record["attempt"], record["outcome"])
        for record in records_of(tmp_path / "out")
    ]
    assert sorted(outcomes) == [
        ("kills_its_supervisor", 1, "lost"),
        ("kills_its_supervisor", 2, "ok"),
        ("right", 1, "ok"),
    ]
    assert done.returncode == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_a_sweep_that_can_be_resumed(tmp_path, number, code):
    """Exit code 130 or 143; the last line says how to go on; going on makes only what is left.

    Ctrl-C goes to every process of the terminal's group, Ray's among them: none may end of it.
    """
    (tmp_path / "sweep.yaml").write_text(sweep_text(toy("right"), n=str(list(range(16, 28)))))
    process = subprocess.Popen(
        command("sweep.yaml", "--output", "out", "--quiet"), cwd=tmp_path, stderr=subprocess.PIPE, text=True,
        stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(ROOT)}, start_new_session=True,
    )  # fmt: skip
    journal = tmp_path / "out" / "results.jsonl"
    until = time.monotonic() + 180
    while (
        not (journal.exists() and journal.read_bytes().count(b"\n") >= 2)
        and time.monotonic() < until
    ):
        time.sleep(0.05)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    _, stderr = process.communicate(timeout=120)
    finished = len(records_of(tmp_path / "out"))
    assert process.returncode == code
    assert "orchestrator resume out" in stderr.splitlines()[-1]
    assert 2 <= finished < 12
    assert run(tmp_path, "resume", "out", "--quiet").returncode == 0
    records = records_of(tmp_path / "out")
    assert len({(record["trial_id"], record["round"]) for record in records}) == 12
    assert len(records) == 12


def test_a_killed_driver_leaves_nobody_and_is_gone_on_with_at_once(tmp_path):
    """SIGKILL; what was finished is not made again, and MLflow has one ended run a trial."""
    from mlflow.tracking import MlflowClient

    (tmp_path / "sweep.yaml").write_text(sweep_text(toy("right"), n=str(list(range(16, 28)))))
    journal = tmp_path / "out" / "results.jsonl"
    driver = subprocess.Popen(
        command("sweep.yaml", "--output", "out", "--quiet"), cwd=tmp_path, stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(ROOT), "PWD_OF_TEST": str(tmp_path)},
    )  # fmt: skip
    until = time.monotonic() + 180
    while (
        not (journal.exists() and journal.read_bytes().count(b"\n") >= 3)
        and time.monotonic() < until
    ):
        time.sleep(0.02)
    driver.kill()
    driver.wait()
    kept = journal.read_bytes()[: journal.read_bytes().rfind(b"\n") + 1]
    assert run(tmp_path, "resume", "out", "--quiet", PWD_OF_TEST=str(tmp_path)).returncode == 0
    records = records_of(tmp_path / "out")
    assert journal.read_bytes().startswith(kept)
    assert [(record["params"]["n"], record["attempt"]) for record in records] == [
        (n, 1) for n in range(16, 28)
    ]
    client = MlflowClient(f"sqlite:///{tmp_path}/mlruns/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("toy").experiment_id])
    kinds = Counter(found.data.tags["kind"] for found in runs)
    assert kinds == {"sweep": 1, "implementation": 1, "trial": 12}
    trials = [found.data.tags["trial_id"] for found in runs if found.data.tags["kind"] == "trial"]
    assert sorted(trials) == sorted(record["trial_id"] for record in records)
    assert {found.info.status for found in runs} == {"FINISHED"}
    until = time.monotonic() + 60
    while left_of(tmp_path) and time.monotonic() < until:
        time.sleep(0.2)
    assert left_of(tmp_path) == []


def test_rounds_are_fresh_processes_in_shuffled_orders(tmp_path):
    """Every trial runs once per round, and the orders differ."""
    (tmp_path / "sweep.yaml").write_text(
        sweep_text(toy("right"), n=str(list(range(16, 24)))).replace(
            "measure: {", "measure: {repeats: 2, "
        )
    )
    assert run(tmp_path, "sweep.yaml", "--output", "out", "--quiet").returncode == 0
    records = records_of(tmp_path / "out")
    orders = [
        [record["params"]["n"] for record in records if record["round"] == number]
        for number in (1, 2)
    ]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(16, 24))
    assert orders[0] != orders[1]
    assert all(
        row.ok and len(row.rounds) == 2 for row in sweep_directory.load(tmp_path / "out").rows
    )


def test_several_slots_work_at_once(tmp_path):
    """With max_concurrent 2 two supervisors take trials."""
    (tmp_path / "sweep.yaml").write_text(
        sweep_text(toy("right"), n=str(list(range(16, 24))), more="max_concurrent: 2\n")
    )
    assert run(tmp_path, "sweep.yaml", "--output", "out", "--quiet").returncode == 0
    results = sweep_directory.load(tmp_path / "out")
    assert all(record.outcome is Outcome.OK for record in results.records)
    spans = sorted((record.started_at, record.finished_at) for record in results.records)
    assert any(later[0] < earlier[1] for earlier, later in itertools.pairwise(spans))


def test_a_checkout_that_is_not_installed_runs_from_its_own_folder(tmp_path: Path) -> None:
    """`python -m orchestrator` finds it there, and so do Ray's workers and the trials."""
    copy = tmp_path / "checkout"
    for package in ("orchestrator", "implementations"):
        shutil.copytree(
            ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    sweep = tmp_path / "sweep.yaml"
    sweep.write_text(sweep_text(toy("tells_where_it_runs")))
    done = run(copy, "run", sweep, "--device", "cpu", "--output", tmp_path / "out", PYTHONPATH="")
    assert done.returncode == 0, done.stderr
    (log,) = (tmp_path / "out" / "logs").glob("*.log")
    assert f"orchestrator {copy / 'orchestrator'}" in log.read_text()
