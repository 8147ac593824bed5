"""Starts only those of Ray's processes that a sweep uses: its GCS, its raylet and their workers.

`ray.init` also starts the autoscaler's monitor, the log monitor, a dashboard without a page, and
two agents beside the raylet, for metrics and for runtime environments. A sweep on a Ray of its own
uses none of them, and on two cores they took half of Ray's start: `ray.init` waits for the
dashboard, and the raylet for its agents. `ray.init` has no option for any of it, so Ray's own
functions are replaced while it runs. pyproject.toml pins Ray's version, and a test starts it.

Its raylet also starts a worker for every core of the machine before anyone asks for one, and a
sweep has one for each slot.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

# The raylet does not start without agents, reads their ports from these files, and ends when one of
# them ends. So each agent is a process that writes the files and waits for the raylet's end, which
# closes its standard input. Nothing listens on port 1: metrics are dropped, as they were. Ctrl-C
# goes to every process of a terminal's group; Ray's own ignore it, and so must these.
AGENT = """
trap '' INT
for argument; do
    case $argument in
        --session-dir=*) folder=${argument#*=} ;;
        --node-id=*) node=${argument#*=} ;;
    esac
done
for port in metrics_agent metrics_export dashboard_agent_listen runtime_env_agent; do
    echo 1 > "$folder/$port.$$"
    mv "$folder/$port.$$" "$folder/${port}_port_$node"
done
exec cat > /dev/null
"""
AGENTS = ("dashboard_agent", "runtime_env_agent")
SETTINGS = {
    # an agent's input ends with the raylet
    "RAY_enable_pipe_based_agent_to_parent_health_check": "1",
    "RAY_prestart_worker_first_driver": "0",
}


@contextmanager
def lean_start(ray: Any) -> Iterator[None]:
    """While it is open, `ray.init` of a new Ray starts no process that a sweep does not use.

    Args:
        ray: the module. Where it has other inner functions than expected, it starts as always.
    """
    private = getattr(ray, "_private", None)
    node, services = getattr(private, "node", None), getattr(private, "services", None)
    kind = getattr(node, "Node", None)
    wanted = (
        (kind, "start_monitor", _nothing),
        (kind, "start_log_monitor", _nothing),
        (kind, "start_api_server", _nothing),
        (services, "_build_python_executable_command_memory_profileable", _with_idle_agents),
    )
    if not all(hasattr(owner, name) for owner, name, _ in wanted):
        yield
        return
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in wanted]
    held = {name: os.environ.get(name) for name in SETTINGS}
    os.environ.update(SETTINGS)
    for owner, name, replacing in wanted:
        setattr(owner, name, replacing(getattr(owner, name)))
    try:
        yield
    finally:
        for owner, name, function in before:
            setattr(owner, name, function)
        for name, value in held.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _nothing(_function: Callable[..., Any]) -> Callable[..., None]:
    def start_nothing(*_arguments: Any, **_options: Any) -> None:
        return None

    return start_nothing


def _with_idle_agents(build: Callable[..., list[str]]) -> Callable[..., list[str]]:
    """The function that builds the command of one of Ray's Python processes, but for agents."""

    def built(component: str, *arguments: Any, **options: Any) -> list[str]:
        if component in AGENTS:
            return ["/bin/sh", "-c", AGENT, component]
        return build(component, *arguments, **options)

    return built
