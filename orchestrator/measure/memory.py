"""Peak memory of an implementation: the allocator's own count on CUDA, the growth of resident
memory on a CPU. MiB.
"""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.util.quantities import GIB, MIB

if TYPE_CHECKING:
    import torch

# a later call's growth beyond the first's by less than both is the heap's, not a need
MORE, MORE_MIB = 1.1, 4.0
_RESET_HIGH_WATER_MARK = "5"  # proc(5): /proc/pid/clear_refs

Figures = dict[str, float | None]
NOTHING_KNOWN: Figures = dict.fromkeys(
    ("peak_memory_mib", "workspace_mib", "reserved_mib", "device_memory_mib")
)


def release(device: torch.device) -> None:
    """Give back what is no longer used: to the collector, to the CUDA device or the system."""
    gc.collect()
    if device.type == "cuda":
        import torch

        torch.cuda.synchronize(device)
        # 32 MiB on a Hopper, made by the reference's own products
        torch._C._cuda_clearCublasWorkspaces()
        torch.cuda.empty_cache()
    _trim()


def _trim() -> None:
    with suppress(OSError, AttributeError):  # glibc only
        ctypes.CDLL(None).malloc_trim(0)


class HostPeak:
    """The growth of this process's resident memory over its first call.

    malloc keeps freed blocks, so that a later call grows nothing: `start` before the implementation
    is built, `mark` before its inputs exist, `inputs_made` after, `figures` after the first call
    and before anything is verified. Pages of files (the code of libraries, mapped in as it is first
    used) are left out: they are shared and not the implementation's.
    """

    def __init__(self) -> None:
        self._start: _Resident | None = None
        self._inputs: _Resident | None = None
        self._marked = False

    def start(self) -> None:
        """What is resident from here on counts."""
        _trim()
        self._start = _Resident.now()

    def mark(self) -> None:
        """Reset the high-water mark; where the kernel does not let us, each figure will be None."""
        gc.collect()
        _trim()
        self._marked = _reset_high_water_mark()

    def inputs_made(self) -> None:
        """What grows from here on is the workspace."""
        self._inputs = _Resident.now()

    def figures(self) -> Figures:
        """peak_memory_mib (inputs included) and workspace_mib; None where they cannot be known, as
        are a card's.
        """
        end = _Resident.now()
        if not self._marked or end is None or self._start is None or self._inputs is None:
            return dict(NOTHING_KNOWN)
        return {
            **NOTHING_KNOWN,
            "peak_memory_mib": end.growth_mib(self._start),
            "workspace_mib": end.growth_mib(self._inputs),
        }

    def with_later(self, known: Figures, call: Callable[[], object]) -> Figures:
        """The figures of the first call, or of one more call on inputs that are there, if that
        takes plainly more.
        """
        self.mark()
        before = _Resident.now()
        result = call()
        after = _Resident.now()
        del result
        peak, workspace = known["peak_memory_mib"], known["workspace_mib"]
        if not self._marked or before is None or after is None or peak is None or workspace is None:
            return known
        later = after.growth_mib(before)
        if later <= max(MORE * workspace, workspace + MORE_MIB):
            return known
        return {**known, "peak_memory_mib": peak - workspace + later, "workspace_mib": later}


class CudaPeak:
    """A process's share of a CUDA device, counted from just after its context was made."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._used_before = self._used()

    def figures(self, call: Callable[[], object]) -> Figures:
        """The figures of one more call, untimed; nothing of the harness but its inputs may be
        alive.

        peak_memory_mib: most that was allocated at once; workspace_mib: the part above what was
            allocated before;
        reserved_mib: most that the allocator held; device_memory_mib: growth of what the device
            itself counts as used,
        other libraries' allocations included, the context not.
        """
        import torch

        release(self._device)
        torch.cuda.reset_peak_memory_stats(self._device)
        before = torch.cuda.memory_allocated(self._device)
        result = call()
        torch.cuda.synchronize(self._device)
        peak, reserved = (
            torch.cuda.max_memory_allocated(self._device),
            torch.cuda.max_memory_reserved(self._device),
        )
        used = self._used()
        del result
        return {
            "peak_memory_mib": peak / MIB,
            "workspace_mib": (peak - before) / MIB,
            "reserved_mib": reserved / MIB,
            "device_memory_mib": max(0, used - self._used_before) / MIB,
        }

    def allocation_retries(self) -> int:
        """How often the allocator had to give everything back and ask again, since the process
        began.
        """
        import torch

        return int(torch.cuda.memory_stats(self._device).get("num_alloc_retries", 0))

    def _used(self) -> int:
        import torch

        free, total = torch.cuda.mem_get_info(self._device)
        return total - free


def cap(device: torch.device, gib: float | None) -> None:
    """Let this process allocate at most `gib` GiB on a CUDA device through torch; None: all."""
    if device.type != "cuda":
        return
    import torch

    total = torch.cuda.get_device_properties(device).total_memory
    share = 1.0 if gib is None else min(1.0, gib * GIB / total)
    torch.cuda.set_per_process_memory_fraction(share, device.index or 0)


class _Resident:
    """One look at /proc/self/status, in bytes."""

    def __init__(self, high_water: int, resident: int, files: int) -> None:
        self.high_water = high_water
        self.resident = resident
        self.files = files

    @classmethod
    def now(cls) -> _Resident | None:
        """None where the kernel does not tell."""
        try:
            lines = Path("/proc/self/status").read_text().splitlines()
            found = {}
            for line in lines:
                name, _, value = line.partition(":\t")
                if "kB" in value:
                    found[name] = 1024 * int(value.split()[0])
            return cls(found["VmHWM"], found["VmRSS"], found["RssFile"])
        except (OSError, KeyError, ValueError):
            return None

    def growth_mib(self, before: _Resident) -> float:
        """From what was resident before to this high-water mark, less the pages of files that came
        since.
        """
        files = max(0, self.files - before.files)
        return max(0, self.high_water - before.resident - files) / MIB


def _reset_high_water_mark() -> bool:
    try:
        Path("/proc/self/clear_refs").write_text(_RESET_HIGH_WATER_MARK)
    except OSError:
        return False
    return True
