"""Names who else uses this machine just before a sweep measures on it, and what that does to the
figures.

It looks at the cores for half a second, and at the GPUs where they are to be measured. Nothing is
changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orchestrator.doctor import gpu, host
from orchestrator.doctor.host import Busy
from orchestrator.machine import nvml
from orchestrator.machine.environment import usable_cores

LOOK_S = 0.5
NAMED = 3
GPU_NEEDS_CORES = 0.75  # a GPU's figures bear more company on the cores than a CPU's


def notices(device: str, cores: int | None = None) -> list[str]:
    """What to tell whoever starts a sweep on "cpu" or "cuda" here; nothing where the machine is
    quiet.
    """
    used, busiest = host.busiest(LOOK_S)
    found = _cores(used, busiest, cores or usable_cores(), device)
    if device == "cuda":
        with nvml.session() as api:
            found += _gpus(api)
    if found:
        found.append(
            "  rows will be flagged contended, which puts them in no ranking, and may be measured "
            "again; better: wait, or end these (`orchestrator doctor` shows more)"
        )
    return found


def _cores(used: float, busiest: Sequence[Busy], cores: int, device: str) -> list[str]:
    limit = host.LOADED if device == "cpu" else GPU_NEEDS_CORES
    if used <= limit * cores:
        return []
    who = "; ".join(map(str, busiest[:NAMED])) or "processes that cannot be seen from here"
    lines = [f"this machine is busy: {used:.1f} of {cores} cores are in use by others: {who}"]
    others = [process.pid for process in busiest if process.is_orchestrator]
    if others:
        pids = ", ".join(map(str, others))
        lines.append(
            f"  another orchestrator is at work on this machine (pid {pids}): each will find the "
            "other in its figures"
        )
    return lines


def _gpus(api: Any) -> list[str]:
    """What the doctor finds on each GPU that is not alone on it."""
    if api is None:
        return []
    lines = []
    for index in range(nvml.ask(api.nvmlDeviceGetCount) or 0):
        handle = nvml.ask(api.nvmlDeviceGetHandleByIndex, index)
        if handle is None:
            continue
        finding = gpu.company(api, handle, f"gpu {index}")
        if finding.state != "ok":
            lines.append(f"GPU {index} is not free: {finding.message}")
    return lines
