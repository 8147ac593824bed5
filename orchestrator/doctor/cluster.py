"""Checks the nodes of a Ray cluster: are they alike, like this machine, on time, and free."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib import metadata
from typing import Any

from orchestrator.doctor.finding import Finding
from orchestrator.formatting import counted
from orchestrator.util import subprocesses

PROBE = "orchestrator.executors.cluster_probe"
PROBE_S = 90.0
CLOCK_S = 1.0  # records of nodes whose clocks are further apart seem to end before they began
LEAST_FREE_GIB = 4.0


def nodes(address: str) -> Iterator[Finding]:
    """What every node of the cluster says of itself, beside this machine.

    Args:
        address: HOST:PORT of a cluster that accepts connections.
    """
    try:
        asked = [sys.executable, "-m", PROBE, address]
        answer = subprocesses.last_json_line(subprocesses.run(asked, "", PROBE_S))
    except subprocess.TimeoutExpired:
        yield Finding(
            "cluster",
            "bad",
            f"{address} lets nobody in within {PROBE_S:g} s",
            "check its head node and token",
        )
        return
    except ValueError as error:
        yield Finding("cluster", "warn", f"could not be asked: {error}")
        return
    yield from judged(address, answer)


def judged(address: str, answer: Mapping[str, Any]) -> Iterator[Finding]:
    """What the probe's answer amounts to."""
    if "error" in answer:
        advice = (
            "RAY_AUTH_MODE=token and the cluster's own RAY_AUTH_TOKEN; "
            "the same Ray and Python as there"
        )
        yield Finding("cluster", "bad", f"{address}: {answer['error'][:300]}", advice)
        return
    every = answer["nodes"]
    gpus = sum(int(node["resources"].get("GPU", 0)) for node in every)
    yield Finding("cluster", "ok", f"{counted(len(every), 'node')}, {gpus} GPUs")
    for name in ("CPU", "GPU"):
        free, whole = answer["free"].get(name, 0), answer["all"].get(name, 0)
        if free < whole:
            text = f"{whole - free:g} of {whole:g} {name}s are held by others"
            advice = "a sweep waits for them, resources.wait_s seconds"
            yield Finding("cluster load", "warn", text, advice)
    for node in every:
        yield from _of_node(node)
    models: set[str] = set()
    for node in every:
        models |= {card.split(",")[0] for card in node.get("cards", ())}
    if len(models) > 1:
        text = f"of several models: {', '.join(sorted(models))}"
        advice = (
            "choose one (resources.accelerator), or measure on each (resources.per_accelerator)"
        )
        yield Finding("cluster GPUs", "warn", text, advice)


def _of_node(node: Mapping[str, Any]) -> Iterator[Finding]:
    name = f"node {node['address']}"
    if "error" in node:
        yield Finding(name, "bad", node["error"], "look at the node's Ray log")
        return
    here = platform.python_version()
    if node["python"].rpartition(".")[0] != here.rpartition(".")[0]:
        text = f"Python {node['python']}, here {here}"
        yield Finding(name, "bad", text, "the same minor version on every machine")
    for package, version in node["versions"].items():
        own = metadata.version(package)
        if version is None:
            yield Finding(name, "bad", f"has no {package}", f"install {package} {own} there")
        elif version.partition("+")[0] != own.partition("+")[0]:  # `+cu128` is a build of the same
            text = f"{package} {version}, here {own}"
            yield Finding(name, "warn", text, "rows of unlike nodes do not compare")
    if node["ahead_s"] > CLOCK_S:
        text = f"its clock is {node['ahead_s']:.0f} s off"
        yield Finding(name, "warn", text, "run chrony or ntpd there")
    if node["free_gib"] < LEAST_FREE_GIB:
        text = f"{node['free_gib']:.1f} GiB of memory free"
        yield Finding(name, "warn", text, "end what holds it")
    cards = "; ".join(node["cards"]) or "no GPU"
    text = f"Python {node['python']}, torch {node['versions']['torch']}, {cards}"
    yield Finding(name, "ok", text)
