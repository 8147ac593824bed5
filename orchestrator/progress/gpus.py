"""GPU memory and temperature of this machine's slots, for the live display, by NVML alone."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from orchestrator.machine import nvml
from orchestrator.util.quantities import GIB


@dataclass(frozen=True)
class Gpu:
    """One look at a GPU: memory in use by all processes in GiB, temperature in degrees Celsius."""

    memory_gib: float | None
    temperature_c: int | None

    def __str__(self) -> str:
        memory = "" if self.memory_gib is None else f"{self.memory_gib:.1f} GiB"
        temperature = "" if self.temperature_c is None else f"{self.temperature_c} °C"
        return "  ".join(filter(None, (memory, temperature)))


class GpuWatch:
    """Looks at the GPUs of this machine's slots; NVML stays open, since opening it costs more than
    a look.
    """

    def __init__(self) -> None:
        self._open = ExitStack()
        self._api: Any = None
        self._handles: dict[int, Any] = {}

    def look(self, environments: Mapping[int, Mapping[str, Any]]) -> dict[int, Gpu]:
        """Slot -> its GPU now, for the slots whose GPU is found on this machine by its UUID."""
        for slot in environments.keys() - self._handles.keys():
            self._handles[slot] = self._find(environments[slot].get("know", {}).get("gpu_uuid"))
        return {
            slot: _look(self._api, handle)
            for slot, handle in self._handles.items()
            if handle is not None
        }

    def close(self) -> None:
        """Let go of NVML."""
        self._handles = {}
        self._open.close()

    def _find(self, uuid: str | None) -> Any:
        if not uuid:
            return None
        if self._api is None:
            self._api = self._open.enter_context(nvml.session())
        return None if self._api is None else nvml.ask(self._api.nvmlDeviceGetHandleByUUID, uuid)


def _look(api: Any, handle: Any) -> Gpu:
    memory = nvml.ask(api.nvmlDeviceGetMemoryInfo, handle)
    temperature = nvml.ask(api.nvmlDeviceGetTemperature, handle, api.NVML_TEMPERATURE_GPU)
    return Gpu(None if memory is None else memory.used / GIB, temperature)
