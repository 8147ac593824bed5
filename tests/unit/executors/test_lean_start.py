"""Ray's own functions are replaced while it starts, and given back."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.executors.lean_start import AGENT, AGENTS, SETTINGS, lean_start


def ray_of(services: SimpleNamespace) -> Any:
    """As much of Ray as is replaced."""

    class Node:
        def start_monitor(self) -> str:
            return "monitor"

        def start_log_monitor(self) -> str:
            return "log monitor"

        def start_api_server(self, **_: Any) -> str:
            return "dashboard"

    return SimpleNamespace(
        _private=SimpleNamespace(node=SimpleNamespace(Node=Node), services=services)
    )


def test_nothing_unused_starts_meanwhile_and_all_is_as_before_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Monitor, log monitor and dashboard are not started, agents are idle, no worker is started
    before it is asked for; Ray is whole again.
    """
    own, another = SETTINGS
    monkeypatch.delenv(own, raising=False)
    monkeypatch.setenv(another, "the user's")
    services = SimpleNamespace(
        _build_python_executable_command_memory_profileable=lambda component, folder: [component]
    )
    ray = ray_of(services)
    build = services._build_python_executable_command_memory_profileable
    node = ray._private.node.Node()
    with lean_start(ray):
        assert node.start_monitor() is node.start_log_monitor() is None
        assert node.start_api_server(include_dashboard=False) is None
        replaced = services._build_python_executable_command_memory_profileable
        assert [replaced(name, "/f")[0] for name in AGENTS] == ["/bin/sh", "/bin/sh"]
        assert replaced("worker", "/f") == ["worker"]
        assert (os.environ[own], os.environ[another]) == ("1", "0")
    assert (node.start_monitor(), node.start_api_server()) == ("monitor", "dashboard")
    assert services._build_python_executable_command_memory_profileable is build
    assert own not in os.environ
    assert os.environ[another] == "the user's"


def test_a_ray_with_other_functions_starts_as_always() -> None:
    """Where one function is missing, none is replaced."""
    ray = ray_of(SimpleNamespace())
    with lean_start(ray):
        assert ray._private.node.Node().start_monitor() == "monitor"


def test_an_idle_agent_writes_the_ports_and_ends_with_its_input(tmp_path: Path) -> None:
    """The raylet finds all four ports; the agent ends when its standard input does."""
    arguments = [f"--session-dir={tmp_path}", "--other=x", "--node-id=abc"]
    done = subprocess.run(
        ["/bin/sh", "-c", AGENT, "agent", *arguments], input=b"", timeout=60, check=True
    )
    assert done.returncode == 0
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        f"{name}_port_abc": "1\n"
        for name in (
            "metrics_agent",
            "metrics_export",
            "dashboard_agent_listen",
            "runtime_env_agent",
        )
    }
