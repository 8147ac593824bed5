"""The same sweep on an existing Ray cluster: two nodes on this machine, some tests with one more, none
with the checkout on its path.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from orchestrator.isolation import proc
from orchestrator.outcome import Outcome
from orchestrator.record import TrialRecord
from orchestrator.results import sweep_directory
from tests.integration.test_ray import CALIBRATED, FAST, ROOT, TOYS, command, run
from tests.support.network import Network, two_networks

pytestmark = pytest.mark.usefixtures("ready_store")
RAY = Path(sys.executable).parent / "ray"
NODES = 2
# When Ray gives a silent node up: after about twenty seconds in place of a minute.
HEALTH = {
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "6000",
    "RAY_health_check_failure_threshold": "3",
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def node_environment(number: int, token: str, folder: Path) -> dict[str, str]:
    """A node's environment: nothing of the checkout on its path, so that only what travels there
    can be imported.
    """
    # `make setup` puts the checkout on this interpreter's path
    (folder / "sitecustomize.py").write_text(
        f"import sys\nsys.path[:] = [path for path in sys.path if path != {str(ROOT)!r}]\n"
    )
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "RAY"))
    }
    auth = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token, "RAY_USAGE_STATS_ENABLED": "0"}
    own = {"PYTHONPATH": str(folder), "SWEEP_TEST_NODE": str(number)}
    # a worker started ahead lacks the sweep's runtime_env, and is of no use
    own["RAY_prestart_worker_first_driver"] = "0"
    return {**kept, **HEALTH, **auth, **own}


@contextmanager
def running_node(
    number: int, token: str, folder: Path, *role: str, network: Network | None = None
) -> Iterator[Callable[[], set[int]]]:
    """A node that has started, in a network of its own or in this machine's; yields what finds its
    processes, all of which are ended at last.
    """
    inside = () if network is None else network.inside
    address = f"127.0.0.{number + 2}" if network is None else network.address

    def processes() -> set[int]:
        marked = set(proc.marked(str(number), "SWEEP_TEST_NODE"))
        return set(proc.marked(token, "RAY_AUTH_TOKEN")) & marked

    # Each node has a folder of its own, as it has on a machine of its own: where they share one, Ray
    # puts a node's working_dir in place of the other's. A socket's path has at most 107 characters.
    with (
        tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as short,
        (folder / "ray.log").open("w") as log,
    ):
        arguments = [
            *inside, str(RAY), "start", *role, "--block", f"--node-ip-address={address}",
            "--num-cpus=1", "--num-gpus=0", "--object-store-memory=100000000", f"--temp-dir={short}",
        ]  # fmt: skip
        node = subprocess.Popen(
            arguments,
            cwd=folder,
            env=node_environment(number, token, folder),
            stdout=log,
            stderr=log,
        )
        try:
            wait_until_started(folder / "ray.log")
            yield processes
        finally:
            proc.end(processes)
            node.wait(timeout=30)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """(address, token) of a running cluster; its processes are ended by their pids."""
    token, port = secrets.token_hex(32), free_port()
    address = f"127.0.0.2:{port}"
    with ExitStack() as nodes:
        for number in range(NODES):
            folder = tmp_path_factory.mktemp(f"node{number}")
            role = leads(port) if number == 0 else joins(address)
            nodes.enter_context(running_node(number, token, folder, *role))
        yield address, token


def leads(port: int) -> tuple[str, ...]:
    """How a node is told to begin a cluster."""
    return "--head", f"--port={port}", "--include-dashboard=false", "--disable-usage-stats"


def joins(address: str) -> tuple[str, ...]:
    """How a node is told to join a cluster."""
    return f"--address={address}", "--disable-usage-stats"


def wait_until_started(log: Path) -> None:
    until = time.monotonic() + 180
    while "Ray runtime started" not in log.read_text():
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.2)


def test_a_sweep_travels_to_a_cluster_and_its_records_come_home(cluster, tmp_path):
    """Supervisors on every node, the project and the user's file by runtime_env, records and logs
    at the driver.
    """
    address, token = cluster
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "helper.py").write_text((TOYS / "matmul.py").read_text())
    (tmp_path / "mine" / "entry.py").write_text(
        "from helper import WORKLOAD, tells_where_it_runs as build\n"
    )
    (tmp_path / "sweep.yaml").write_text(
        "name: travels\nworkload: mine/entry.py:WORKLOAD\nimplementations: [./mine/entry.py:build]\n"
        f"axes: {{n: {list(range(16, 36))}}}\nmeasure: {CALIBRATED}\n"
    )
    auth = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
    done = run(tmp_path, "sweep.yaml", "--output", "out", "--quiet", "--address", address, **auth)
    assert done.returncode == 0, done.stderr
    results = sweep_directory.load(tmp_path / "out")
    logs = [(tmp_path / "out" / row.log).read_text() for row in results.rows]
    assert len({record.trial_id for record in results.records}) == 20
    assert {node for log in logs for node in log.split("node ")[1].split()[:1]} == {"0", "1"}
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
    assert "is the token the cluster's?" in done.stderr


def test_a_search_over_a_cluster(cluster, tmp_path):
    """A searcher at the driver proposes, nodes run several at once, and the best is found all the
    same.
    """
    address, token = cluster
    (tmp_path / "toy.py").write_text((TOYS / "matmul.py").read_text())
    (tmp_path / "sweep.yaml").write_text(
        "name: searched\nworkload: toy.py:WORKLOAD\nimplementations: [{use: 'toy.py:right', label: right}]\n"
        f"axes: {{n: {{low: 16, high: 128, log: true}}}}\nsearch: {{strategy: optuna, samples: 9}}\nmeasure: {FAST}\n"
    )
    auth = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
    done = run(
        tmp_path, "sweep.yaml", "--output", "out", "--quiet", "--json", "--address", address, **auth
    )
    assert done.returncode == 0, done.stderr
    (answer,) = json.loads(done.stdout)["answers"]
    results = sweep_directory.load(tmp_path / "out")
    latencies = [row.metrics["latency_ms"] for row in results.rows]
    assert (answer["trials"], answer["value"]) == (9, min(latencies))
    proposed = [
        json.loads(line) for line in (tmp_path / "out" / "proposals.jsonl").read_text().splitlines()
    ]
    assert [proposal["after"] for proposal in proposed][:NODES] == [0] * NODES


def sharded(folder: Path, more: str = "", names: str = "tells_its_rank") -> None:
    """A sweep file of two ranks, and the user's file that it names."""
    (folder / "toy.py").write_text((TOYS / "ranks.py").read_text())
    uses = ", ".join(f"{{use: 'toy.py:{name}', label: {name}}}" for name in names.split())
    (folder / "sweep.yaml").write_text(
        f"name: sharded\nworkload: toy.py:WORKLOAD\nimplementations: [{uses}]\n"
        f"axes: {{world_size: [2]}}\nmeasure: {FAST}\n{more}"
    )


def test_ranks_of_one_trial_on_different_nodes(cluster, tmp_path):
    """Spread by a placement group, verified as a whole, logs home; one that fails ends those
    elsewhere.
    """
    address, token = cluster
    sharded(
        tmp_path, "resources: {placement: spread, timeout_s: 60}\n", "tells_its_rank raises dies"
    )
    auth = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
    done = run(tmp_path, "sweep.yaml", "--output", "out", "--quiet", "--address", address, **auth)
    results = sweep_directory.load(tmp_path / "out")
    rows = {row.implementation: row for row in results.rows}
    assert rows["tells_its_rank"].outcome is Outcome.OK, done.stderr
    log = (tmp_path / "out" / rows["tells_its_rank"].log).read_text()
    assert "I am 0 of 2" in log
    assert "I am 1 of 2" in log
    assert len({line for line in log.splitlines() if line.startswith("node ")}) == 2
    assert rows["raises"].error.message.startswith("rank 1 of 2: boom"), done.stderr
    assert (rows["dies"].outcome, rows["dies"].error.kind) == (Outcome.CRASHED, "SIGSEGV"), (
        done.stderr
    )


def test_both_sides_of_a_paired_comparison_travel_to_a_cluster(cluster, tmp_path):
    """Two folders whose files bear the same names: each side is built from its own, with a kernel
    that it reads.
    """
    address, token = cluster
    (tmp_path / "toy.py").write_text((TOYS / "matmul.py").read_text())
    for side in ("old", "new"):
        (tmp_path / side / "kern").mkdir(parents=True)
        (tmp_path / side / "kern" / "__init__.py").write_text(f"SIDE = '{side}'\n")
        (tmp_path / side / "kern" / "fast.py").write_text(
            "from . import SIDE\ndef go(a, b): return a @ b\n"
        )
        (tmp_path / side / "k.cu").write_text(f"// {side}\n")
        (tmp_path / side / "mine.py").write_text(
            "from pathlib import Path\nfrom kern.fast import SIDE, go\ndef build(config):\n"
            "    print(SIDE, (Path(__file__).parent / 'k.cu').read_text())\n    return go\n"
        )
    uses = ", ".join(f"{{use: './{side}/mine.py:build', label: {side}}}" for side in ("old", "new"))
    (tmp_path / "sweep.yaml").write_text(
        f"name: paired\nworkload: toy.py:WORKLOAD\nimplementations: [{uses}]\naxes: {{n: [16]}}\nmeasure: {FAST}\n"
    )
    auth = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
    options = ("-S", "measure.repeats=1", "--output", "out", "--address", address)
    done = run(tmp_path, "compare", "--duel", "old", "new", "sweep.yaml", *options, **auth)
    results = sweep_directory.load(tmp_path / "out")
    assert [row.outcome for row in results.rows] == [Outcome.OK, Outcome.OK], done.stderr
    for row in results.rows:
        log = (tmp_path / "out" / row.log).read_text()
        assert "old // old" in log
        assert "new // new" in log


HOLDER = """
import sys, time, ray

ray.init(address=sys.argv[1], log_to_driver=False)

@ray.remote(num_cpus=1)
class Trainer:
    def here(self):
        return True

held = [Trainer.remote() for _ in range(2)]
ray.get([one.here.remote() for one in held])
print("held", flush=True)
time.sleep(600)
"""


def test_a_busy_cluster_is_waited_for_with_a_word_and_given_up_in_time(cluster, tmp_path):
    """Who holds it is named; after resources.wait_s the sweep ends with exit code 3 and can go on
    later.
    """
    address, token = cluster
    auth = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, address], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env={**os.environ, **auth},
    )  # fmt: skip
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        (tmp_path / "sweep.yaml").write_text(
            f"name: waits\nworkload: {TOYS}/matmul.py:WORKLOAD\nimplementations: ['{TOYS}/matmul.py:right']\n"
            "axes: {n: [16]}\nresources: {wait_s: 12}\n"
        )
        done = run(
            tmp_path, "sweep.yaml", "--output", "out", "--quiet", "--address", address, **auth
        )
    finally:
        holder.kill()
        holder.communicate()
    assert done.returncode == 3, done.stderr
    held = (
        f"a slot takes 1 CPUs, 0 CPUs of 2 CPUs are free, held by 2 Trainer of driver {holder.pid}"
    )
    assert held in done.stderr
    assert "given up after resources.wait_s = 12" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_model_of_gpu_that_no_node_has_is_refused_by_name(cluster, tmp_path):
    """Exit code 3, and what there is."""
    address, token = cluster
    auth = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
    (tmp_path / "sweep.yaml").write_text(
        f"name: picky\nworkload: {TOYS}/matmul.py:WORKLOAD\nimplementations: ['{TOYS}/matmul.py:right']\n"
        "axes: {n: [16]}\nresources: {accelerator: H200}\n"
    )
    done = run(tmp_path, "sweep.yaml", "--output", "out", "--quiet", "--address", address, **auth)
    assert done.returncode == 3
    assert "no node has the accelerator H200" in done.stderr


@pytest.mark.slow
def test_each_model_of_accelerator_is_measured_on_its_own_nodes(
    cluster, tmp_path, tmp_path_factory
):
    """Nodes of two models beside two that name none: a row for each, made where it says, and
    those of one model again by an expression.
    """
    address, token = cluster
    (tmp_path / "toy.py").write_text((TOYS / "matmul.py").read_text())
    (tmp_path / "sweep.yaml").write_text(
        "name: unlike\nworkload: toy.py:WORKLOAD\nimplementations: [{use: 'toy.py:tells_where_it_runs', label: toy}]\n"
        f"axes: {{n: [16, 32, 48]}}\nmeasure: {FAST}\nresources: {{per_accelerator: true}}\n"
    )
    auth = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
    options = ("--output", "out", "--address", address)
    with ExitStack() as nodes:
        for number, model in ((5, "old"), (6, "new")):
            folder = tmp_path_factory.mktemp(f"node{number}")
            named = f'--resources={{"accelerator_type:{model}": 1}}'
            nodes.enter_context(running_node(number, token, folder, *joins(address), named))
        done = run(tmp_path, "sweep.yaml", *options, **auth)
        assert done.returncode == 0, done.stderr
        assert places_of(tmp_path / "out") == {("old", "5"): 3, ("new", "6"): 3}
        assert "Accelerator" in done.stdout
        again = ("--rerun", "accelerator == 'old'")
        done = run(tmp_path, "sweep.yaml", *options, *again, **auth)
        assert done.returncode == 0, done.stderr
    rows = sweep_directory.load(tmp_path / "out").rows
    assert [(row.params["accelerator"], row.attempts) for row in rows] == [
        ("new", 1),
        ("old", 2),
    ] * 3


def places_of(directory: Path) -> Counter[tuple[str, str]]:
    """(model of the row, node that its log names) -> how many rows."""
    results = sweep_directory.load(directory)
    logs = [(row, (directory / str(row.log)).read_text()) for row in results.rows]
    return Counter(
        (str(row.params["accelerator"]), log.split("node ")[1].split()[0]) for row, log in logs
    )


@contextmanager
def running_sweep(
    folder: Path, trials: int, address: str, token: str, inside: tuple[str, ...] = ()
) -> Iterator[subprocess.Popen[str]]:
    """A sweep of so many trials on the cluster, into `out`; ended at last if it still runs."""
    (folder / "toy.py").write_text((TOYS / "matmul.py").read_text())
    (folder / "sweep.yaml").write_text(
        "name: told\nworkload: toy.py:WORKLOAD\nimplementations: [{use: 'toy.py:tells_where_it_runs', label: toy}]\n"
        f"axes: {{n: {list(range(16, 16 + trials))}}}\nmeasure: {FAST}\n"
    )
    auth = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
    sweep = subprocess.Popen(
        [*inside, *command("sweep.yaml", "--output", "out", "--quiet", "--address", address)], cwd=folder, text=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT), **auth},
    )  # fmt: skip
    try:
        yield sweep
    finally:
        if sweep.poll() is None:
            sweep.send_signal(signal.SIGINT)
        try:
            sweep.communicate(timeout=120)
        except subprocess.TimeoutExpired:
            sweep.kill()
            sweep.communicate()


def wait_for_work_on(node: str, sweep: subprocess.Popen[str], directory: Path) -> None:
    """Until the node has finished a trial of the sweep; fails if the sweep ends before."""
    until = time.monotonic() + 180
    while node not in (at_work := nodes_at_work(directory)):
        assert sweep.poll() is None, f"the sweep ended; at work were {at_work}"
        assert time.monotonic() < until, f"at work are {at_work}"
        time.sleep(0.05)


def test_a_node_that_joins_during_a_sweep_is_used(cluster, tmp_path, tmp_path_factory):
    """Its slot takes trials that no other has begun."""
    address, token = cluster
    with running_sweep(tmp_path, 500, address, token) as sweep:
        wait_for_work_on("0", sweep, tmp_path / "out")
        with running_node(9, token, tmp_path_factory.mktemp("joins"), *joins(address)):
            wait_for_work_on("9", sweep, tmp_path / "out")
            sweep.send_signal(signal.SIGINT)
            sweep.communicate(timeout=120)


def test_a_node_that_dies_costs_an_attempt_and_no_row(cluster, tmp_path, tmp_path_factory):
    """All its processes are killed at once, as when the power fails: its trial is lost, and made
    again elsewhere.
    """
    address, token = cluster
    with (
        running_node(7, token, tmp_path_factory.mktemp("dies"), *joins(address)) as whole_node,
        running_sweep(tmp_path, 30, address, token) as sweep,
    ):
        wait_for_work_on("7", sweep, tmp_path / "out")
        proc.end(whole_node)
        _, said = sweep.communicate(timeout=400)
    assert sweep.returncode == 0, said
    lost = lost_once(tmp_path / "out", 30)
    assert f"lost  toy n={lost.params['n']}: the supervisor on 127.0.0.9 died" in said


@pytest.mark.slow
def test_a_node_that_freezes_costs_an_attempt_and_no_row(cluster, tmp_path, tmp_path_factory):
    """All its processes are stopped at once, as when a machine hangs or its cable is pulled: none
    says goodbye, and its trial is made again elsewhere once Ray gives the node up.
    """
    address, token = cluster
    with (
        running_node(8, token, tmp_path_factory.mktemp("freezes"), *joins(address)) as whole_node,
        running_sweep(tmp_path, 30, address, token) as sweep,
    ):
        wait_for_work_on("8", sweep, tmp_path / "out")
        for pid in whole_node():
            proc.send(pid, signal.SIGSTOP)
        _, said = sweep.communicate(timeout=400)
    assert sweep.returncode == 0, said
    lost_once(tmp_path / "out", 30)


@pytest.mark.slow
def test_a_node_that_is_cut_off_costs_an_attempt_and_no_row(tmp_path, tmp_path_factory):
    """Each node in a network of its own; the link between them goes down in mid-trial, so that both
    live on and neither hears of the other. What the lost node did is made again on the first.
    """
    token, trials = secrets.token_hex(32), 20
    with ExitStack() as stack:
        here, there = stack.enter_context(two_networks())
        address = f"{here.address}:6379"
        for number, (network, role) in enumerate([(here, leads(6379)), (there, joins(address))]):
            folder = tmp_path_factory.mktemp(f"network{number}")
            stack.enter_context(running_node(number, token, folder, *role, network=network))
        sweep = stack.enter_context(running_sweep(tmp_path, trials, address, token, here.inside))
        wait_for_work_on("1", sweep, tmp_path / "out")
        there.cut_off()
        _, said = sweep.communicate(timeout=400)
    assert sweep.returncode == 0, said
    lost = lost_once(tmp_path / "out", trials)
    assert f"lost  toy n={lost.params['n']}: the supervisor on {there.address} died" in said


def lost_once(directory: Path, trials: int) -> TrialRecord:
    """The record of the only attempt that was lost; every trial has an end, and the lost one's
    second attempt is ok.
    """
    records = sweep_directory.load(directory).records
    (lost,) = [record for record in records if record.outcome is Outcome.LOST]
    assert (lost.attempt, lost.error.kind) == (1, "SupervisorDied")
    again = [one.outcome for one in records if one.trial_id == lost.trial_id and one.attempt == 2]
    assert again == [Outcome.OK]
    assert len({record.trial_id for record in records}) == trials
    assert len(records) == trials + 1
    return lost


def nodes_at_work(directory: Path) -> set[str]:
    """The nodes that have finished a trial, and so are in the midst of the next."""
    logs = [log.read_text() for log in (directory / "logs").glob("*.log")]
    return {log.split("node ")[1].split()[0] for log in logs if "node " in log}


def test_doctor_asks_every_node(cluster, tmp_path):
    """Versions, clock, cards and free memory of each, and who is not let in."""
    address, token = cluster
    auth = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
    done = run(tmp_path, "doctor", "--address", address, "--json", **auth)
    found = json.loads(done.stdout)["findings"]
    nodes = [
        finding
        for finding in found
        if finding["check"].startswith("node ") and finding["state"] == "ok"
    ]
    assert len(nodes) >= 2, [
        one for one in found if one["check"].startswith(("ray", "cluster", "node"))
    ]
    assert all(f"torch {torch_version()}" in finding["message"] for finding in nodes)


def torch_version() -> str:
    from importlib import metadata

    return metadata.version("torch")
