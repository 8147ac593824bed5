"""What must match before two results may be compared, and what is worth knowing about where they came from."""

from __future__ import annotations

import math
import os
import platform
import runpy
import socket
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from importlib import import_module, metadata, util
from pathlib import Path
from typing import Any

from orchestrator.machine import nvml
from orchestrator.machine.cgroup import cpu_quota
from orchestrator.machine.variables import decisive

Facts = dict[str, Any]


def describe(device: str, gpu_memory_gib: float | None = None, threads: int | None = None) -> dict[str, Facts]:
    """This machine as a place to measure on: {"match": facts two results must share, "know": facts worth knowing}.

    Reads files and NVML only; imports no torch and initialises no CUDA, so that a supervisor may call it. JSON
    values. The machine is looked at once per process.

    Args:
        device: "cpu", "cuda" or "cuda:<index>".
        gpu_memory_gib: cap on a trial's share of the card.
        threads: CPU threads of a trial; None: what this process may use.
    """
    kind = device.partition(":")[0]
    cap = {"memory_cap_gib": gpu_memory_gib, "threads": threads or usable_cores()}
    match = {**_gpu_match(device), **cap} if kind == "cuda" else {**_cpu_match(), **cap, "memory_cap_gib": None}
    match |= _limits()
    know = {**_know(device), "described_at": datetime.now(UTC).isoformat(timespec="seconds")}
    return {"match": {"device": kind, **match, **_software(kind)}, "know": know}


def differences(base: Mapping[str, Any], candidate: Mapping[str, Any]) -> list[str]:
    """The facts that must match and do not, as "name: base's value, candidate's value"."""
    base, candidate = _spread(base), _spread(candidate)
    names = sorted({*base, *candidate})
    return [
        f"{name}: {base.get(name)}, {candidate.get(name)}" for name in names if base.get(name) != candidate.get(name)
    ]


def _spread(facts: Mapping[str, Any]) -> Facts:
    """The facts with those that are mappings taken apart: {"variables": {"A": 1}} is {"variables.A": 1}."""
    found: Facts = {}
    for name, value in facts.items():
        inner = value if isinstance(value, Mapping) else None
        found |= {name: value} if inner is None else {f"{name}.{key}": inner[key] for key in inner}
    return found


def git_state(directory: Path) -> Facts:
    """Commit and dirty flag of the checkout that `directory` is in; None each where it is in none."""
    commit = _git(directory, "rev-parse", "HEAD")
    changed = None if commit is None else _git(directory, "status", "--porcelain", "--untracked-files=no")
    return {"git_commit": commit, "git_dirty": None if changed is None else bool(changed)}


@lru_cache
def code_state(directory: str) -> Facts:
    """Of the user's own checkout that the sweep's files are in: code_git_commit, code_git_dirty; {}: it has none.

    Of the project's own checkout nothing more need be said.
    """
    top = _git(Path(directory), "rev-parse", "--show-toplevel")
    if top is None or top == _git(Path(__file__).parent, "rev-parse", "--show-toplevel"):
        return {}
    return {f"code_{name}": value for name, value in git_state(Path(directory)).items()}


def usable_cores() -> int:
    """CPU cores that this process can keep busy: those that it may run on, as far as its quota of time reaches.

    A quota of half a core is one: a second thread would only wait for the first.
    """
    quota = cpu_quota()
    allowed = len(os.sched_getaffinity(0))
    return allowed if quota is None else max(1, min(allowed, math.floor(quota)))


@lru_cache
def cpu_model() -> str:
    """The CPU's name as the kernel gives it, else the architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model")))
    return next(names, "") or platform.processor() or platform.machine()


@lru_cache
def _limits() -> Facts:
    """A quota of CPU time and variables that change results, where there are any: earlier versions knew of none."""
    quota, variables = cpu_quota(), decisive()
    found: Facts = {} if quota is None else {"cpu_quota": quota}
    return found | ({"variables": variables} if variables else {})


@lru_cache
def _cpu_match() -> Facts:
    governor = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    clocks = governor.read_text().strip() if governor.is_file() else None
    return {"model": cpu_model(), "cores": usable_cores(), "driver": None, "clocks": clocks, "power_limit_w": None}


@lru_cache
def _gpu_match(device: str) -> Facts:
    with nvml.session() as api:
        gpu = None if api is None else nvml.handle(api, nvml.ordinal_of(device))
        if api is None or gpu is None:
            return {"model": None, "cores": None, "driver": None, "clocks": None, "power_limit_w": None}
        limit_mw = nvml.ask(api.nvmlDeviceGetEnforcedPowerLimit, gpu)
        return {
            "model": nvml.ask(api.nvmlDeviceGetName, gpu),
            "cores": nvml.ask(api.nvmlDeviceGetNumGpuCores, gpu),
            "driver": nvml.ask(api.nvmlSystemGetDriverVersion),
            "clocks": _clocks_policy(api, gpu),
            "power_limit_w": None if limit_mw is None else round(limit_mw / 1000),
        }


def _clocks_policy(api: Any, gpu: Any) -> str | None:
    asked = nvml.ask(api.nvmlDeviceGetApplicationsClock, gpu, api.NVML_CLOCK_SM)
    default = nvml.ask(api.nvmlDeviceGetDefaultApplicationsClock, gpu, api.NVML_CLOCK_SM)
    highest = nvml.ask(api.nvmlDeviceGetMaxClockInfo, gpu, api.NVML_CLOCK_SM)
    if asked is None or asked == default:
        return None if highest is None else f"default, at most {highest} MHz"
    return f"application clock {asked} MHz"


@lru_cache
def _software(kind: str) -> Facts:
    torch = _torch_version()
    gpu = kind == "cuda"
    return {
        "python": platform.python_version(),
        "torch": torch.get("__version__"),
        "cuda": torch.get("cuda") if gpu else None,
        "cudnn": _cudnn_version(torch) if gpu else None,
        "triton": (_version("triton") or _version("pytorch-triton")) if gpu else None,
    }


def _torch_version() -> Facts:
    """torch/version.py, run by itself: importing torch takes seconds, and a supervisor has no other use for it."""
    spec = util.find_spec("torch")
    if spec is None or spec.origin is None:
        return {}
    return runpy.run_path(str(Path(spec.origin).with_name("version.py")))


def _cudnn_version(torch: Mapping[str, Any]) -> str | None:
    major = str(torch.get("cuda") or "").partition(".")[0]
    packaged = _version(f"nvidia-cudnn-cu{major}")
    if packaged is not None or not major:
        return packaged
    cudnn: Any = import_module("torch.backends.cudnn")
    return str(cudnn.version())


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


@lru_cache
def _know(device: str) -> Facts:
    return {
        "host": socket.gethostname(),
        "os": platform.platform(),
        "cpu_model": cpu_model(),
        "cpu_cores": usable_cores(),
        "executable": Path(sys.executable).name,
        **_gpu_know(device),
        **git_state(Path(__file__).parent),
    }


def _gpu_know(device: str) -> Facts:
    if not device.startswith("cuda"):
        return {"gpu_uuid": None, "gpu_memory_mib": None, "gpu_pci": None}
    with nvml.session() as api:
        gpu = None if api is None else nvml.handle(api, nvml.ordinal_of(device))
        if api is None or gpu is None:
            return {"gpu_uuid": None, "gpu_memory_mib": None, "gpu_pci": None}
        memory, pci = nvml.ask(api.nvmlDeviceGetMemoryInfo, gpu), nvml.ask(api.nvmlDeviceGetPciInfo, gpu)
        return {
            "gpu_uuid": nvml.ask(api.nvmlDeviceGetUUID, gpu),
            "gpu_memory_mib": None if memory is None else memory.total // nvml.MIB,
            "gpu_pci": None if pci is None else _text(pci.busId),
        }


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _git(directory: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(directory), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
