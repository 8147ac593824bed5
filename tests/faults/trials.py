"""Attempts that name a fault, isolators to run them in, and a census of processes."""

from __future__ import annotations

import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from orchestrator.isolation import proc
from orchestrator.isolation.isolator import Isolator
from orchestrator.spec.models import MeasureSpec, VerifySpec
from orchestrator.trial import Attempt, Resources, Trial

HERE = Path(__file__).parent
# How long the processes sleep that faults leave behind: an argument by which they are found,
# whatever else they shed.
NAP = f"600.{uuid.uuid4().int % 10**12}"


def attempt_of(
    build: str,
    timeout_s: float = 60.0,
    memory_gib: float | None = None,
    workload: str = "none",
    **params: object,
) -> Attempt:
    """An attempt of a build function in faulty.py."""
    use = f"{HERE / 'faulty.py'}:{build}"
    return Attempt(
        sweep_id="20261122_000000",
        trial=Trial.of(implementation=build, use=use, params=params, options={"nap": NAP}),
        workload=workload,
        base_dir=str(HERE),
        device="cpu",
        seed=0,
        protocol=MeasureSpec(max_time_s=0.2).for_device("cpu"),
        verify=VerifySpec(),
        resources=Resources(cpus=1, timeout_s=timeout_s, host_memory_gib=memory_gib),
    )


def light_isolator(**options: object) -> Isolator:
    """An isolator whose worker needs no torch."""
    return Isolator(target="stand_in:run_attempt", sys_path=[str(HERE), *sys.path], **options)


def napping() -> list[int]:
    """The processes that a fault left asleep."""
    return [pid for pid in proc.every_pid() if NAP.encode() in _command(pid) and proc.is_alive(pid)]


def of_our_isolators() -> list[int]:
    """The processes that this process's isolators and their attempts consist of."""
    return [pid for pid in proc.marked(proc.mark()) if proc.is_alive(pid)]


def gone(find: Callable[[], list[int]], within_s: float = 10.0) -> bool:
    """Whether `find` finds nothing, now or within some seconds."""
    deadline = time.monotonic() + within_s
    while found := find():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return found == []


def _command(pid: int) -> bytes:
    try:
        return (Path("/proc") / str(pid) / "cmdline").read_bytes()
    except OSError:
        return b""
