"""Describes every node of a cluster: `python -m orchestrator.executors.cluster_probe ADDRESS`.

A program of its own, so that whoever asks need not import Ray and can give up waiting. Prints one
line of JSON: {"nodes": [...], "free": resources, "all": resources}, or {"error": text}. What runs
on the nodes needs nothing of this project there.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

ANSWER_S = 40.0

api: Any = ray  # whose functions are not annotated


def facts() -> dict[str, Any]:
    """What a node is, looked at on it."""
    import contextlib
    import platform
    import subprocess
    import time
    from importlib import metadata

    versions: dict[str, str | None] = {}
    for name in ("ray", "torch"):
        versions[name] = None
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    cards: list[str] = []
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        asked = [
            "nvidia-smi",
            "--query-gpu=name,driver_version,memory.free",
            "--format=csv,noheader",
        ]
        cards = subprocess.run(
            asked, capture_output=True, text=True, timeout=20, check=True
        ).stdout.splitlines()
    with open("/proc/meminfo") as memory:  # noqa: PTH123 - no module of ours is on the node
        kib = next(int(line.split()[1]) for line in memory if line.startswith("MemAvailable"))
    return {
        "python": platform.python_version(),
        "versions": versions,
        "clock": time.time(),
        "cards": cards,
        "free_gib": kib / 2**20,
    }


def main(address: str) -> None:
    """Ask, and print."""
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL)
    except Exception as error:  # noqa: BLE001 - any of Ray's errors is an answer
        sys.stdout.write(
            json.dumps({"error": " ".join(f"{type(error).__name__}: {error}".split())}) + "\n"
        )
        return
    ask = ray.remote(facts)
    nodes = [node for node in api.nodes() if node["Alive"]]
    sent = time.time()
    waiting = {}
    for node in nodes:
        there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        waiting[ask.options(num_cpus=0, max_retries=0, scheduling_strategy=there).remote()] = node
    found = []
    done, _ = ray.wait(list(waiting), num_returns=len(waiting), timeout=ANSWER_S)
    for ref, node in waiting.items():
        entry: dict[str, Any] = {
            "address": node["NodeManagerAddress"],
            "resources": node["Resources"],
        }
        if ref in done:
            try:
                answer = ray.get(ref)
                entry |= answer
                entry["ahead_s"] = max(0.0, answer["clock"] - time.time(), sent - answer["clock"])
            except Exception as error:  # noqa: BLE001 - of one node
                entry["error"] = f"{type(error).__name__}: {error}"
        else:
            entry["error"] = f"does not answer within {ANSWER_S:g} s"
        found.append(entry)
    free, every = api.available_resources(), api.cluster_resources()
    sys.stdout.write(json.dumps({"nodes": found, "free": free, "all": every}) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
