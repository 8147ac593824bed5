"""The same sweep on an existing Ray cluster: three nodes on this machine, none with the checkout on its path."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.isolation import proc
from orchestrator.outcome import Outcome
from orchestrator.results import sweep_directory
from tests.integration.test_ray import FAST, ROOT, TOYS, command, run

RAY = Path(sys.executable).parent / "ray"
NODES = 3


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def node_environment(number: int, token: str, folder: Path) -> dict[str, str]:
    """A node's environment: nothing of the checkout on its path, so that only what travels there can be imported."""
    (folder / "sitecustomize.py").write_text(  # `make setup` puts the checkout on this interpreter's path
        f"import sys\nsys.path[:] = [path for path in sys.path if path != {str(ROOT)!r}]\n"
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "RAY"))}
    auth = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token, "RAY_USAGE_STATS_ENABLED": "0"}
    return {**kept, **auth, "PYTHONPATH": str(folder), "SWEEP_TEST_NODE": str(number)}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """(address, token) of a running cluster; its processes are ended by their pids."""
    token, port = secrets.token_hex(32), free_port()
    address = f"127.0.0.2:{port}"
    processes = []
    for number in range(NODES):
        folder = tmp_path_factory.mktemp(f"node{number}")
        role = ["--head", f"--port={port}", "--include-dashboard=false"] if number == 0 else [f"--address={address}"]
        arguments = [
            str(RAY), "start", *role, "--block", f"--node-ip-address=127.0.0.{number + 2}", "--num-cpus=1",
            "--num-gpus=0", "--object-store-memory=100000000",
            f"--temp-dir={folder}" if number == 0 else "--disable-usage-stats",
        ]  # fmt: skip
        log = (folder / "ray.log").open("w")
        processes.append(
            subprocess.Popen(arguments, cwd=folder, env=node_environment(number, token, folder), stdout=log, stderr=log)
        )
        log.close()
        wait_until_started(folder / "ray.log")
    yield address, token
    for process in reversed(processes):
        process.terminate()
    for process in processes:
        process.wait(timeout=30)


def wait_until_started(log: Path) -> None:
    until = time.monotonic() + 90
    while "Ray runtime started" not in log.read_text():
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.2)


def test_a_sweep_travels_to_a_cluster_and_its_records_come_home(cluster, tmp_path):
    """Supervisors on every node, the project and the user's file by runtime_env, records and logs at the driver."""
    address, token = cluster
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "helper.py").write_text((TOYS / "matmul.py").read_text())
    (tmp_path / "mine" / "entry.py").write_text("from helper import WORKLOAD, tells_where_it_runs as build\n")
    (tmp_path / "sweep.yaml").write_text(
        "name: travels\nworkload: mine/entry.py:WORKLOAD\nimplementations: [./mine/entry.py:build]\n"
        f"axes: {{n: {list(range(16, 46))}}}\nmeasure: {FAST}\n"
    )
    auth = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
    done = run(tmp_path, "sweep.yaml", "--output", "out", "--quiet", "--address", address, **auth)
    assert done.returncode == 0, done.stderr
    results = sweep_directory.load(tmp_path / "out")
    logs = [(tmp_path / "out" / row.log).read_text() for row in results.rows]
    assert len({record.trial_id for record in results.records}) == 30
    assert {node for log in logs for node in log.split("node ")[1].split()[:1]} == {"0", "1", "2"}
    assert all(str(ROOT) not in log and str(tmp_path) not in log for log in logs)


def test_a_cluster_that_refuses_the_token_is_an_abort(cluster, tmp_path):
    """Exit code 3 and a reason, no traceback."""
    address, _ = cluster
    (tmp_path / "sweep.yaml").write_text(
        f"name: refused\nworkload: {TOYS}/matmul.py:WORKLOAD\n"
        f"implementations: ['{TOYS}/matmul.py:right']\naxes: {{n: [16]}}\n"
    )
    wrong = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}
    done = run(tmp_path, "sweep.yaml", "--output", "out", "--quiet", "--address", address, **wrong)
    assert done.returncode == 3
    assert "Traceback" not in done.stderr


def test_a_search_over_a_cluster(cluster, tmp_path):
    """A searcher at the driver proposes, nodes run several at once, and the best is found all the same."""
    address, token = cluster
    (tmp_path / "toy.py").write_text((TOYS / "matmul.py").read_text())
    (tmp_path / "sweep.yaml").write_text(
        "name: searched\nworkload: toy.py:WORKLOAD\nimplementations: [{use: 'toy.py:right', label: right}]\n"
        f"axes: {{n: {{low: 16, high: 128, log: true}}}}\nsearch: {{strategy: optuna, samples: 9}}\nmeasure: {FAST}\n"
    )
    auth = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
    done = run(tmp_path, "sweep.yaml", "--output", "out", "--quiet", "--json", "--address", address, **auth)
    assert done.returncode == 0, done.stderr
    (answer,) = json.loads(done.stdout)["answers"]
    results = sweep_directory.load(tmp_path / "out")
    latencies = [row.metrics["latency_ms"] for row in results.rows]
    assert (answer["trials"], answer["value"]) == (9, min(latencies))
    proposed = [json.loads(line) for line in (tmp_path / "out" / "proposals.jsonl").read_text().splitlines()]
    assert [proposal["after"] for proposal in proposed][:3] == [0, 0, 0]


def test_a_node_that_dies_costs_an_attempt_and_no_row(cluster, tmp_path):
    """All its processes are killed at once, as when the power fails: its trial is lost, and made again elsewhere."""
    address, token = cluster
    (tmp_path / "toy.py").write_text((TOYS / "matmul.py").read_text())
    (tmp_path / "sweep.yaml").write_text(
        "name: bereft\nworkload: toy.py:WORKLOAD\nimplementations: [{use: 'toy.py:tells_where_it_runs', label: toy}]\n"
        f"axes: {{n: {list(range(16, 31))}}}\nmeasure: {FAST}\n"
    )
    auth = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
    sweep = subprocess.Popen(
        command("sweep.yaml", "--output", "out", "--quiet", "--address", address), cwd=tmp_path, text=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT), **auth},
    )  # fmt: skip
    until = time.monotonic() + 120
    while "2" not in nodes_at_work(tmp_path / "out") and time.monotonic() < until:
        time.sleep(0.05)
    proc.end(lambda: set(proc.marked(token, "RAY_AUTH_TOKEN")) & set(proc.marked("2", "SWEEP_TEST_NODE")))
    _, said = sweep.communicate(timeout=200)
    assert sweep.returncode == 0, said
    results = sweep_directory.load(tmp_path / "out")
    (lost,) = [record for record in results.records if record.outcome is Outcome.LOST]
    assert (lost.attempt, lost.error.kind) == (1, "SupervisorDied")
    (again,) = [record for record in results.records if record.trial_id == lost.trial_id and record.attempt == 2]
    assert again.outcome is Outcome.OK
    assert len(results.records) == 16
    assert f"lost  toy n={lost.params['n']}: the supervisor on 127.0.0.4 died" in said


def nodes_at_work(directory: Path) -> set[str]:
    """The nodes that have finished a trial, and so are in the midst of the next."""
    logs = [log.read_text() for log in (directory / "logs").glob("*.log")]
    return {log.split("node ")[1].split()[0] for log in logs if "node " in log}
