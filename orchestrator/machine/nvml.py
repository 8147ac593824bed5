"""Reads GPUs by NVML: initialises no CUDA, and returns None for what this machine cannot say."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any


@contextmanager
def session() -> Iterator[ModuleType | None]:
    """The pynvml module, initialised within the block; None without a driver or the library."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # noqa: BLE001 - no library, no driver, or a driver that does not answer
        yield None
        return
    try:
        yield pynvml
    finally:
        with suppress(Exception):
            pynvml.nvmlShutdown()


@contextmanager
def on_gpu(ordinal: int = 0) -> Iterator[tuple[ModuleType, Any] | None]:
    """The pynvml module, initialised within the block, and the handle of cuda:`ordinal`; None
    without a driver, the library or such a GPU.
    """
    with session() as nvml:
        gpu = None if nvml is None else handle(nvml, ordinal)
        yield None if nvml is None or gpu is None else (nvml, gpu)


def ask(function: Callable[..., Any], *args: Any) -> Any:
    """The result of an NVML function, bytes decoded; None if this GPU or driver lacks it."""
    try:
        found = function(*args)
    except Exception:  # noqa: BLE001 - NVMLError has a class per code: all mean "no answer"
        return None
    return text(found) if isinstance(found, bytes) else found


def text(value: str | bytes) -> str:
    """The value as text: versions of pynvml differ in which of the two they return."""
    return value.decode() if isinstance(value, bytes) else value


def count() -> int:
    """GPUs that this process may use, by NVML and CUDA_VISIBLE_DEVICES; 0 without a driver."""
    with session() as nvml:
        found = int(nvml.nvmlDeviceGetCount()) if nvml else 0
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return found
    named = [part for part in visible.split(",") if part.strip() not in ("", "-1")]
    return min(found, len(named))


def handle(nvml: ModuleType, ordinal: int = 0) -> Any:
    """NVML's handle of the GPU that is cuda:`ordinal` in this process; None: there is none.

    NVML numbers all GPUs of the machine and ignores CUDA_VISIBLE_DEVICES, CUDA does not.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return ask(nvml.nvmlDeviceGetHandleByIndex, ordinal)
    names = [name.strip() for name in visible.split(",")]
    if ordinal >= len(names) or names[ordinal] in ("", "-1", "NoDevFiles"):
        return None
    name = names[ordinal]
    if name.isdigit():
        return ask(nvml.nvmlDeviceGetHandleByIndex, int(name))
    return _by_uuid(nvml, name)


def card(nvml: ModuleType, ordinal: int = 0) -> str | None:
    """UUID and PCI address of the GPU that is cuda:`ordinal` in this process; None: no GPU."""
    gpu = handle(nvml, ordinal)
    if gpu is None:
        return None
    pci = ask(nvml.nvmlDeviceGetPciInfo, gpu)
    address = text(getattr(pci, "busId", None) or "?")
    return f"{ask(nvml.nvmlDeviceGetUUID, gpu)} {address}"


def local_cores(nvml: ModuleType, ordinal: int = 0) -> frozenset[int]:
    """The cores nearest to cuda:`ordinal`, by its PCI slot; empty if the kernel does not say."""
    found = card(nvml, ordinal)
    if found is None:
        return frozenset()
    domain, _, rest = found.split()[1].lower().partition(":")
    place = Path(f"/sys/bus/pci/devices/{domain[-4:]}:{rest}/local_cpulist")
    try:
        return cores_of(place.read_text())
    except (OSError, ValueError):
        return frozenset()


def cores_of(text: str) -> frozenset[int]:
    """The numbers in a core list as the kernel writes it: "0-3,8"."""
    found: set[int] = set()
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return frozenset(found)


def memory_used_bytes(ordinal: int = 0) -> int | None:
    """Bytes in use on cuda:`ordinal` by all processes together, as the driver sees it."""
    with on_gpu(ordinal) as opened:
        if opened is None:
            return None
        nvml, gpu = opened
        memory = ask(nvml.nvmlDeviceGetMemoryInfo, gpu)
        if memory is None:
            return None
        return int(memory.used)


def total_bytes(nvml: ModuleType, gpu: Any) -> int:
    """The memory of a card; 0 where that is not known."""
    found = ask(nvml.nvmlDeviceGetMemoryInfo, gpu)
    if found is None:
        return 0
    return int(found.total)


def admits_several(nvml: ModuleType, gpu: Any) -> bool:
    """Whether several processes may compute on a card: its compute mode is the default one."""
    return bool(ask(nvml.nvmlDeviceGetComputeMode, gpu) == nvml.NVML_COMPUTEMODE_DEFAULT)


def compute_pids(ordinal: int = 0) -> frozenset[int]:
    """Processes that compute on cuda:`ordinal`. In a container these are the host's pids."""
    with on_gpu(ordinal) as opened:
        if opened is None:
            return frozenset()
        nvml, gpu = opened
        running = ask(nvml.nvmlDeviceGetComputeRunningProcesses, gpu)
    return frozenset(process.pid for process in running or ())


def ordinal_of(device: str) -> int:
    """0 of "cuda", 3 of "cuda:3"."""
    _, _, index = device.partition(":")
    return int(index or 0)


def _by_uuid(nvml: ModuleType, prefix: str) -> Any:
    found = ask(nvml.nvmlDeviceGetHandleByUUID, prefix)
    if found is not None:
        return found
    for index in range(ask(nvml.nvmlDeviceGetCount) or 0):
        gpu = ask(nvml.nvmlDeviceGetHandleByIndex, index)
        if str(ask(nvml.nvmlDeviceGetUUID, gpu)).startswith(prefix):  # CUDA accepts a unique prefix
            return gpu
    return None
