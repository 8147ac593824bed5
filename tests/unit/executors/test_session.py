"""A driver's connection to Ray: one at a time, to what was asked for, behind a token that nobody
else is left with.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.errors import UnfitMachineError
from orchestrator.executors import session
from orchestrator.executors.session import AUTHENTICATION, RayOptions, Session
from orchestrator.isolation.fork_client import ForkClient

HERE = "127.0.0.2:6379"


class FakeRay:
    """As much of Ray as a session uses; `tokens` are those that it was started with."""

    job_config = SimpleNamespace(JobConfig=dict)

    def __init__(self, *, up: bool = False, hosts: tuple[str, ...] = ()) -> None:
        self.tokens: list[str | None] = []
        self._up = up
        self._hosts = hosts or (socket.gethostname(),)

    def is_initialized(self) -> bool:
        return self._up

    def init(self, **_: Any) -> None:
        self._up = True
        self.tokens.append(os.environ.get("RAY_AUTH_TOKEN"))

    def shutdown(self) -> None:
        self._up = False

    def nodes(self) -> list[dict[str, Any]]:
        return [{"NodeManagerHostname": host, "Alive": True} for host in self._hosts]

    def get_runtime_context(self) -> SimpleNamespace:
        return SimpleNamespace(gcs_address=HERE)


class NoCleanup:
    """Stands for the process beside the driver."""

    mark, folder = "a/b/c", "/nowhere"

    def close(self) -> None:
        """Nothing is left to end."""


@pytest.fixture(autouse=True)
def _no_processes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is started, and the environment is the test's own."""
    monkeypatch.setattr(session, "CleanupProcess", NoCleanup)
    monkeypatch.setattr(session, "clear_up_after_others", lambda: None)
    for name in (*AUTHENTICATION, *session.QUIET):
        monkeypatch.delenv(name, raising=False)
    yield
    for name in (*AUTHENTICATION, *session.QUIET):
        os.environ.pop(name, None)


def opened(ray: FakeRay, address: str | None = None) -> Session:
    return Session(lambda: ray, RayOptions(address=address), lambda: False)


def test_each_sweep_has_a_token_of_its_own_and_leaves_none_behind() -> None:
    """Not in the environment, where trials and the next sweep would find it."""
    ray = FakeRay()
    for _ in range(2):
        one = opened(ray)
        assert not set(AUTHENTICATION) & set(os.environ)
        one.close()
    first, second = ray.tokens
    assert first
    assert second
    assert first != second


def test_a_token_of_the_users_is_neither_used_nor_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """It opens a cluster of theirs."""
    monkeypatch.setenv("RAY_AUTH_TOKEN", "theirs")
    ray = FakeRay()
    one = opened(ray)
    assert os.environ["RAY_AUTH_TOKEN"] == "theirs"
    one.close()
    assert "theirs" not in ray.tokens


def test_a_second_sweep_of_the_process_is_refused_while_the_first_runs() -> None:
    """From another thread, say: the first to end would shut down the other's Ray."""
    ray = FakeRay()
    first = opened(ray)
    with pytest.raises(UnfitMachineError, match="another sweep of this process is running"):
        opened(ray)
    first.close()
    opened(ray).close()


@pytest.mark.parametrize("address", [None, HERE, "auto"])
def test_a_ray_that_is_up_already_is_used_where_it_is_what_was_asked_for(
    address: str | None,
) -> None:
    """And stays up."""
    ray = FakeRay(up=True)
    opened(ray, address).close()
    assert ray.is_initialized()
    assert ray.tokens == []


def test_a_ray_that_is_up_already_is_not_taken_for_another() -> None:
    """Both addresses are named, and the next sweep is free to start."""
    ray = FakeRay(up=True)
    with pytest.raises(
        UnfitMachineError, match=rf"the Ray at {HERE} already: .* sweep on 10\.0\.0\.1:6379"
    ):
        opened(ray, "10.0.0.1:6379")
    opened(ray).close()


def test_nodes_that_can_be_sent_no_files_any_more_are_refused() -> None:
    """Files travel when a process connects."""
    with pytest.raises(UnfitMachineError, match="too late to send the sweep's files to elsewhere"):
        opened(FakeRay(up=True, hosts=(socket.gethostname(), "elsewhere")))


def test_trials_are_given_neither_token_nor_tracking_log_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever holds them commands the sweep, or its runs; what else is in the environment stays."""
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://bob:secret@db/runs")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "secret")
    monkeypatch.setenv("NCCL_ALGO", "Ring")
    client = object.__new__(ForkClient)
    client._mark = "a/b/c"
    found = client._environment({}, [])
    assert "secret" not in " ".join(found.values())
    assert found["NCCL_ALGO"] == "Ring"
