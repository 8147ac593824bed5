"""Who is on the network and has no token cannot use the Ray that a sweep starts, on whichever port."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from orchestrator.isolation import proc

ROOT = Path(__file__).parents[2]
# of gRPC: the second says that the port belongs to another of Ray's servers
UNAUTHENTICATED, UNIMPLEMENTED = 16, 12
UNREACHABLE = -1
REFUSED = 7  # of curl: nobody listens there
# What could run code, read or stop something, of each server of Ray; a port serves those of one or
# two of them.
METHODS = [
    "CoreWorkerService/PushTask",
    "CoreWorkerService/KillActor",
    "CoreWorkerService/Exit",
    "CoreWorkerService/GetObjectStatus",
    "NodeManagerService/RequestWorkerLease",
    "NodeManagerService/ShutdownRaylet",
    "NodeManagerService/GetNodeStats",
    "ObjectManagerService/Push",
    "ObjectManagerService/Pull",
    "ActorInfoGcsService/RegisterActor",
    "ActorInfoGcsService/CreateActor",
    "JobInfoGcsService/AddJob",
    "InternalKVGcsService/InternalKVGet",
    "InternalKVGcsService/InternalKVPut",
    "InternalPubSubGcsService/GcsPublish",
    "NodeInfoGcsService/GetAllNodeInfo",
    "NodeInfoGcsService/UnregisterNode",
]
DRIVER = """
import os, sys, time
from orchestrator.executors.ray import load_ray
from orchestrator.executors.session import RayOptions, Session
from orchestrator.isolation import proc
session = Session(load_ray, RayOptions(), lambda: False)

@session.ray.remote
class Actor:
    def token(self):
        return os.environ["RAY_AUTH_TOKEN"]

actor = Actor.remote()
print(proc.mark(), session.ray.get(actor.token.remote()), flush=True)
sys.stdin.read()
session.close()
"""


@dataclass(frozen=True)
class OwnRay:
    """A Ray as sweeps start it."""

    driver: int
    mark: str
    token: str

    def processes(self) -> list[psutil.Process]:
        """The driver and all that its Ray consists of now; workers come and go."""
        found = []
        for pid in [self.driver, *proc.marked(self.mark, proc.DRIVER_MARK)]:
            with suppress(psutil.NoSuchProcess):
                found.append(psutil.Process(pid))
        return found

    def ports(self) -> dict[int, str]:
        """The TCP ports on which any process of it listens, and its command."""
        found = {}
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                connections = process.net_connections("tcp")
                listening = [each for each in connections if each.status == psutil.CONN_LISTEN]
                found |= {each.laddr.port: " ".join(process.cmdline())[-100:] for each in listening}
        return found


@pytest.fixture(scope="module")
def own_ray() -> Iterator[OwnRay]:
    """Started by a driver of its own, with an actor; its token is asked for nowhere but here."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER], cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    assert driver.stdout is not None
    mark, token = driver.stdout.readline().split()
    yield OwnRay(driver.pid, mark, token)
    driver.communicate(timeout=60)
    assert [pid for pid in proc.marked(mark, proc.DRIVER_MARK) if proc.is_alive(pid)] == []


@dataclass(frozen=True)
class Neighbour:
    """Somebody at another address: in a network namespace, from which this machine is `gateway`."""

    namespace: str
    gateway: str

    def call(self, port: int, method: str, token: str | None = None) -> int | None:
        """The gRPC status that a port of this machine answers an empty message with; None: no gRPC
        there.
        """
        # with a message, this answer may be overtaken
        if self._post(port, method, token, "") == UNIMPLEMENTED:
            return UNIMPLEMENTED
        return self._post(port, method, token, "\0" * 5)

    def _post(self, port: int, method: str, token: str | None, body: str) -> int | None:
        line = [
            "ip",
            "netns",
            "exec",
            self.namespace,
            "curl",
            "-s",
            "-m",
            "10",
            "--http2-prior-knowledge",
        ]
        line += [
            "-H",
            "content-type: application/grpc",
            "-H",
            "te: trailers",
            "-D",
            "-",
            "-o",
            os.devnull,
        ]
        line += [] if token is None else ["-H", f"authorization: Bearer {token}"]
        line += ["--data-binary", "@-"] if body else ["-X", "POST"]
        url = f"http://{self.gateway}:{port}/ray.rpc.{method}"
        done = subprocess.run([*line, url], input=body, capture_output=True, text=True, timeout=30)
        if done.returncode == REFUSED:
            return UNREACHABLE
        statuses = [
            line.split(":")[1]
            for line in done.stdout.splitlines()
            if line.startswith("grpc-status:")
        ]
        return int(statuses[0]) if statuses else None


@pytest.fixture(scope="module")
def neighbour() -> Iterator[Neighbour]:
    """A namespace joined to this machine by a pair of virtual interfaces."""
    if shutil.which("ip") is None or shutil.which("curl") is None:
        pytest.skip("needs ip (iproute2) and curl")
    name = f"sweep{uuid.uuid4().hex[:6]}"
    if subprocess.run(["ip", "netns", "add", name], capture_output=True).returncode != 0:
        pytest.skip("needs the right to make network namespaces (root)")
    third = uuid.uuid4().int % 250
    here, there = f"10.213.{third}.1", f"10.213.{third}.2"
    try:
        for line in (
            f"ip link add {name}a type veth peer name {name}b netns {name}",
            f"ip address add {here}/30 dev {name}a",
            f"ip link set {name}a up",
            f"ip -n {name} address add {there}/30 dev {name}b",
            f"ip -n {name} link set {name}b up",
        ):
            subprocess.run(line.split(), check=True, capture_output=True)
        yield Neighbour(name, here)
    finally:
        subprocess.run(["ip", "netns", "del", name], check=False)
        subprocess.run(["ip", "link", "del", f"{name}a"], check=False, capture_output=True)


def test_every_port_refuses_whoever_lacks_the_token(own_ray: OwnRay, neighbour: Neighbour) -> None:
    """From another address; driver, control store, node manager, object manager, each worker: none
    is forgotten.
    """
    asked = 0
    for port, whose in own_ray.ports().items():
        answers = {method: neighbour.call(port, method) for method in METHODS}
        # of a worker that has ended, or open to this machine alone
        if set(answers.values()) == {UNREACHABLE}:
            continue
        assert set(answers.values()) <= {UNAUTHENTICATED, UNIMPLEMENTED}, (
            whose,
            json.dumps(answers),
        )
        assert UNAUTHENTICATED in answers.values(), f"none of the methods is known to port {port}"
        asked += 1
    assert asked >= 4


def test_nothing_starts_that_a_sweep_does_not_use(own_ray: OwnRay) -> None:
    """Of Ray's processes there are its GCS, its raylet, two idle agents and workers."""
    lines = [" ".join(process.cmdline()) for process in own_ray.processes()]
    assert len([line for line in lines if line == "cat"]) == 2
    for unused in ("monitor.py", "dashboard", "runtime_env/agent"):
        assert [line for line in lines if f"{unused}" in line.split(" --")[0]] == []


def test_a_wrong_token_is_as_good_as_none_and_the_right_one_is_not(
    own_ray: OwnRay, neighbour: Neighbour
) -> None:
    """Else the refusals would prove nothing."""
    method = "NodeInfoGcsService/GetAllNodeInfo"
    (port,) = [port for port in own_ray.ports() if neighbour.call(port, method) == UNAUTHENTICATED]
    assert neighbour.call(port, method, "0" * 64) == UNAUTHENTICATED
    assert neighbour.call(port, method, own_ray.token) == 0


def test_the_token_is_kept_nowhere(own_ray: OwnRay) -> None:
    """Neither in a file of the user's home nor on any command line."""
    assert len(own_ray.token) == 64
    for process in own_ray.processes():
        with suppress(psutil.NoSuchProcess):
            assert own_ray.token not in " ".join(process.cmdline())
    kept = Path.home() / ".ray" / "auth_token"
    assert not kept.exists() or own_ray.token not in kept.read_text()
