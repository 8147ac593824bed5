"""Describes a machine: what two results must share to be comparable, and what is worth knowing."""

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

from orchestrator import __version__
from orchestrator.machine import nvml
from orchestrator.machine.cgroup import cpu_quota
from orchestrator.machine.variables import decisive
from orchestrator.util.quantities import MIB

Facts = dict[str, Any]


def describe(
    device: str, gpu_memory_gib: float | None = None, threads: int | None = None
) -> dict[str, Facts]:
    """Describe this machine, as JSON values.

    Reads files and NVML only. Imports no torch and initialises no CUDA, so that a supervisor may
    call it. Each fact is read once per process.

    Args:
        device: "cpu", "cuda" or "cuda:<index>".
        gpu_memory_gib: cap on a trial's share of the card.
        threads: CPU threads of a trial; None: as many as this process may use.

    Returns:
        {"match": facts that two results must share, "know": facts worth knowing}.
    """
    kind = device.partition(":")[0]
    match: Facts = {"device": kind}
    if kind == "cuda":
        match |= _gpu_match(device)
        match["memory_cap_gib"] = gpu_memory_gib
    else:
        match |= _cpu_match()
        match["memory_cap_gib"] = None
    match["threads"] = threads or usable_cores()
    match |= _limits()
    match |= _software(kind)
    know = dict(_know(device))
    know["described_at"] = datetime.now(UTC).isoformat(timespec="seconds")
    return {"match": match, "know": know}


def differences(base: Mapping[str, Any], candidate: Mapping[str, Any]) -> list[str]:
    """The facts that must match and do not, as "name: base's value, candidate's value"."""
    return [f"{name}: {was}, {now}" for name, was, now in differing(base, candidate)]


def differing(base: Mapping[str, Any], candidate: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """(name, base's value, candidate's value) of the facts that differ, by name; None: none.

    One level of nesting is opened.
    """
    if base == candidate:
        return []
    base, candidate = _flat(base), _flat(candidate)
    found = []
    for name in sorted(base.keys() | candidate.keys()):
        was, now = base.get(name), candidate.get(name)
        if was != now:
            found.append((name, was, now))
    return found


def _flat(facts: Mapping[str, Any]) -> Facts:
    """The facts without nesting: {"variables": {"A": 1}} becomes {"variables.A": 1}."""
    found: Facts = {}
    for name, value in facts.items():
        if isinstance(value, Mapping):
            for key, inner in value.items():
                found[f"{name}.{key}"] = inner
        else:
            found[name] = value
    return found


def commit_of(know: Mapping[str, Any], digits: int | None = None) -> str:
    """The commit of the user's code, or else of the harness; empty: not known.

    Args:
        know: what an environment states beside what must match.
        digits: so many of it; None: all.

    Returns:
        `3f2a1bc`, or `3f2a1bc+` where files of that checkout had been changed since.
    """
    prefix = "code_" if know.get("code_git_commit") else ""
    commit = str(know.get(f"{prefix}git_commit") or "")[:digits]
    if commit and know.get(f"{prefix}git_dirty"):
        return f"{commit}+"
    return commit


def git_state(directory: Path) -> Facts:
    """Commit and dirty flag of the checkout that `directory` is in; None each outside of any."""
    commit = _git(directory, "rev-parse", "HEAD")
    if commit is None:
        return {"git_commit": None, "git_dirty": None}
    changed = _git(directory, "status", "--porcelain", "--untracked-files=no")
    dirty = None  # git did not answer in time
    if changed is not None:
        dirty = bool(changed)
    return {"git_commit": commit, "git_dirty": dirty}


@lru_cache
def code_state(directory: str) -> Facts:
    """code_git_commit and code_git_dirty of the user's checkout that the sweep's files are in.

    {} outside of any checkout, and in the project's own, which `describe` names already.
    """
    top = _git(Path(directory), "rev-parse", "--show-toplevel")
    if top is None or top == _git(Path(__file__).parent, "rev-parse", "--show-toplevel"):
        return {}
    return {f"code_{name}": value for name, value in git_state(Path(directory)).items()}


def usable_cores() -> int:
    """The number of CPU cores that this process can keep busy, by its affinity and its quota.

    At least one: with a quota of half a core a second thread would only wait for the first.
    """
    quota = cpu_quota()
    allowed = len(os.sched_getaffinity(0))
    if quota is None:
        return allowed
    return max(1, min(allowed, math.floor(quota)))


@lru_cache
def cpu_model() -> str:
    """The CPU's name as the kernel gives it, else the architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith(("model name", "Model")):
            name = line.partition(":")[2].strip()
            if name:
                return name
            break
    return platform.processor() or platform.machine()


@lru_cache
def _limits() -> Facts:
    """The CPU quota, and the variables that change results.

    Each is left out if there is none: so records of earlier versions, which lack both, still match.
    """
    found: Facts = {}
    quota, variables = cpu_quota(), decisive()
    if quota is not None:
        found["cpu_quota"] = quota
    if variables:
        found["variables"] = variables
    return found


@lru_cache
def _cpu_match() -> Facts:
    governor = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    clocks = None  # a virtual machine has no governor
    if governor.is_file():
        clocks = governor.read_text().strip()
    return {
        "model": cpu_model(),
        "cores": usable_cores(),
        "driver": None,
        "clocks": clocks,
        "power_limit_w": None,
    }


@lru_cache
def _gpu_match(device: str) -> Facts:
    found: Facts = dict.fromkeys(("model", "cores", "driver", "clocks", "power_limit_w"))
    with nvml.on_gpu(nvml.ordinal_of(device)) as opened:
        if opened is None:
            return found
        api, gpu = opened
        found["model"] = nvml.ask(api.nvmlDeviceGetName, gpu)
        found["cores"] = nvml.ask(api.nvmlDeviceGetNumGpuCores, gpu)
        found["driver"] = nvml.ask(api.nvmlSystemGetDriverVersion)
        found["clocks"] = _clocks_policy(api, gpu)
        limit_mw = nvml.ask(api.nvmlDeviceGetEnforcedPowerLimit, gpu)
        if limit_mw is not None:
            found["power_limit_w"] = round(limit_mw / 1000)
    return found


def _clocks_policy(api: Any, gpu: Any) -> str | None:
    """How the SM clock is set: an application clock, or the default; None: unknown."""
    asked = nvml.ask(api.nvmlDeviceGetApplicationsClock, gpu, api.NVML_CLOCK_SM)
    default = nvml.ask(api.nvmlDeviceGetDefaultApplicationsClock, gpu, api.NVML_CLOCK_SM)
    highest = nvml.ask(api.nvmlDeviceGetMaxClockInfo, gpu, api.NVML_CLOCK_SM)
    if asked is not None and asked != default:
        return f"application clock {asked} MHz"
    if highest is None:
        return None
    return f"default, at most {highest} MHz"


@lru_cache
def _software(kind: str) -> Facts:
    torch = _torch_version()
    found: Facts = {
        "python": platform.python_version(),
        "torch": torch.get("__version__"),
        "cuda": None,
        "cudnn": None,
        "triton": None,
    }
    if kind == "cuda":
        found["cuda"] = torch.get("cuda")
        found["cudnn"] = _cudnn_version(torch)
        found["triton"] = _version("triton") or _version("pytorch-triton")
    return found


def _torch_version() -> Facts:
    """What torch/version.py defines. Importing torch for it would take a supervisor seconds."""
    spec = util.find_spec("torch")
    if spec is None or spec.origin is None:
        return {}
    return runpy.run_path(str(Path(spec.origin).with_name("version.py")))


def _cudnn_version(torch: Mapping[str, Any]) -> str | None:
    """Version of cuDNN: of the package that torch's wheel brings, else as torch reports it."""
    major = str(torch.get("cuda") or "").partition(".")[0]
    packaged = _version(f"nvidia-cudnn-cu{major}")
    if packaged is not None or not major:
        return packaged
    # A torch that was built here has cuDNN from elsewhere, and only itself knows which.
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
        "orchestrator": __version__,
        **_gpu_know(device),
        **git_state(Path(__file__).parent),
    }


def _gpu_know(device: str) -> Facts:
    found: Facts = dict.fromkeys(("gpu_uuid", "gpu_memory_mib", "gpu_pci"))
    if not device.startswith("cuda"):
        return found
    with nvml.on_gpu(nvml.ordinal_of(device)) as opened:
        if opened is None:
            return found
        api, gpu = opened
        found["gpu_uuid"] = nvml.ask(api.nvmlDeviceGetUUID, gpu)
        memory = nvml.ask(api.nvmlDeviceGetMemoryInfo, gpu)
        if memory is not None:
            found["gpu_memory_mib"] = memory.total // MIB
        pci = nvml.ask(api.nvmlDeviceGetPciInfo, gpu)
        if pci is not None:
            found["gpu_pci"] = nvml.text(pci.busId)
    return found


def _git(directory: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(directory), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode != 0:
        return None
    return done.stdout.strip()
