"""Checks the GPUs by NVML, and whether torch can use them. Never initialises CUDA itself."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from typing import Any

import psutil

from orchestrator.doctor.finding import Finding, State
from orchestrator.machine.nvml import ask
from orchestrator.util import subprocesses
from orchestrator.util.quantities import MIB

BUSY_PCT = 5
HELD_MIB = 1024
HOT_C = 83
TORCH_S = 90.0
SLOWED = {
    "nvmlClocksEventReasonHwSlowdown": "the hardware slows it down",
    "nvmlClocksEventReasonHwThermalSlowdown": "it is too hot",
    "nvmlClocksEventReasonSwThermalSlowdown": "it is too hot",
    "nvmlClocksEventReasonHwPowerBrakeSlowdown": "its power supply asks it to slow down",
}
PROBE = """
import json, torch
count = torch.cuda.device_count()
for index in range(count):
    ones = torch.ones(64, 64, device=f"cuda:{index}")
    assert (ones @ ones).sum().item() == 64**3, f"cuda:{index} multiplies wrongly"
print(json.dumps({"count": count, "torch": torch.__version__, "cuda": torch.version.cuda}))
"""


def gpus(api: Any) -> Iterator[Finding]:
    """Every check of every GPU; `api`: an initialised pynvml, or None where there is no driver."""
    count = 0
    if api is not None:
        count = ask(api.nvmlDeviceGetCount) or 0
    if count == 0:
        yield Finding("gpu", "ok", "none that a driver shows: sweeps run on the CPU")
        return
    version = ask(api.nvmlSystemGetDriverVersion) or "of unknown version"
    yield Finding("driver", "ok", f"NVIDIA {version}")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        text = f"CUDA_VISIBLE_DEVICES={visible!r} chooses among {count}"
        yield Finding("gpu", "warn", text, "unset it to use them all")
    for index in range(count):
        gpu = ask(api.nvmlDeviceGetHandleByIndex, index)
        if gpu is None:
            text = "the driver does not answer for it"
            yield Finding(f"gpu {index}", "bad", text, "nvidia-smi -q says why; reboot")
            continue
        for check in (_identity, _persistence, _mig, _clocks, _temperature, company):
            yield check(api, gpu, f"gpu {index}")


def torch_uses_gpu(
    api: Any, run: Callable[[], subprocess.CompletedProcess[str]] | None = None
) -> Finding:
    """Whether torch computes rightly on each GPU, tried in a process of its own; without a GPU only
    its version.
    """
    if api is None or not ask(api.nvmlDeviceGetCount):
        return Finding("torch", "ok", f"torch {_version('torch')}")
    build_advice = (
        f"torch {_version('torch')} may be built for another CUDA or GPU: "
        "install a build for this driver"
    )
    try:
        seen = subprocesses.last_json_line((run or _probe)())
    except subprocess.TimeoutExpired:
        text = f"no answer from a GPU within {TORCH_S:.0f} s"
        return Finding("torch", "bad", text, "look for a process that hangs on it")
    except ValueError as error:
        return Finding("torch", "bad", f"cannot compute on a GPU: {error}", build_advice)
    if not seen["count"]:
        text = f"torch {seen['torch']} sees no GPU, the driver does"
        return Finding("torch", "bad", text, build_advice)
    text = f"torch {seen['torch']}, CUDA {seen['cuda']}, right on {seen['count']} of its GPUs"
    return Finding("torch", "ok", text)


def _identity(api: Any, gpu: Any, check: str) -> Finding:
    text = str(ask(api.nvmlDeviceGetName, gpu))
    memory = ask(api.nvmlDeviceGetMemoryInfo, gpu)
    if memory is not None:
        text += f", {memory.total / MIB / 1024:.0f} GiB"
    return Finding(check, "ok", text)


def _persistence(api: Any, gpu: Any, check: str) -> Finding:
    mode = ask(api.nvmlDeviceGetPersistenceMode, gpu)
    if mode == 0:
        text = "off: every trial waits for the driver to wake up"
        return Finding(f"{check} persistence", "warn", text, "nvidia-smi -pm 1")
    return Finding(f"{check} persistence", "ok", "on" if mode else "not told")


def _mig(api: Any, gpu: Any, check: str) -> Finding:
    mode = ask(api.nvmlDeviceGetMigMode, gpu)
    if mode and mode[0]:  # (now, after the next reboot)
        text = "on: a part of the GPU is measured, others may use the rest"
        return Finding(f"{check} MIG", "warn", text, "nvidia-smi -mig 0")
    return Finding(f"{check} MIG", "ok", "off")


def _clocks(api: Any, gpu: Any, check: str) -> Finding:
    reasons = ask(api.nvmlDeviceGetCurrentClocksEventReasons, gpu) or 0
    # a set, for two of the reasons read alike; 0: a pynvml that does not know the reason
    slowed = {text for name, text in SLOWED.items() if reasons & getattr(api, name, 0)}
    if slowed:
        text = f"held down: {', '.join(sorted(slowed))}"
        return Finding(f"{check} clocks", "bad", text, "cool it, and look at its power supply")
    chosen = ask(api.nvmlDeviceGetApplicationsClock, gpu, api.NVML_CLOCK_SM)
    usual = ask(api.nvmlDeviceGetDefaultApplicationsClock, gpu, api.NVML_CLOCK_SM)
    highest = ask(api.nvmlDeviceGetMaxClockInfo, gpu, api.NVML_CLOCK_SM)
    if chosen is not None and chosen != usual:
        return Finding(f"{check} clocks", "ok", f"application clock {chosen} MHz")
    if not highest:
        return Finding(f"{check} clocks", "ok", "not told")
    advice = "to compare over weeks, fix them: nvidia-smi -lgc MHZ"
    return Finding(f"{check} clocks", "ok", f"free, at most {highest} MHz", advice)


def _temperature(api: Any, gpu: Any, check: str) -> Finding:
    degrees = ask(api.nvmlDeviceGetTemperature, gpu, api.NVML_TEMPERATURE_GPU)
    if degrees is None:
        return Finding(f"{check} temperature", "ok", "not told")
    if degrees >= HOT_C:
        text = f"{degrees} °C before anything runs"
        return Finding(f"{check} temperature", "warn", text, "let it cool down first")
    return Finding(f"{check} temperature", "ok", f"{degrees} °C")


def company(api: Any, gpu: Any, check: str) -> Finding:
    """Who else is on it; in a container other processes may show only as use and memory."""
    running = [*(ask(api.nvmlDeviceGetComputeRunningProcesses, gpu) or ())]
    use = ask(api.nvmlDeviceGetUtilizationRates, gpu)
    memory = ask(api.nvmlDeviceGetMemoryInfo, gpu)
    busy = use is not None and use.gpu > BUSY_PCT
    held = 0 if memory is None else memory.used / MIB
    if not running and not busy and held < HELD_MIB:
        return Finding(f"{check} alone", "ok", "no other process on it")
    who = ", ".join(_named(process.pid) for process in running)
    if not who:
        who = "processes that cannot be seen from here"
    percent = use.gpu if use else "?"
    message = f"{who}: {percent} % in use, {held:.0f} MiB held"
    state: State = "bad" if busy else "warn"
    advice = "end them: their work would be in our figures"
    return Finding(f"{check} alone", state, message, advice)


def _named(pid: int) -> str:
    try:
        return f"{psutil.Process(pid).name()} (pid {pid})"
    except psutil.Error:
        return f"pid {pid}"


def _probe() -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-c", PROBE]
    return subprocesses.run(line, "", TORCH_S)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "is not installed"
