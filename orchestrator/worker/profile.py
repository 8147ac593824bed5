"""Which kernels a call runs: one more call, untimed, under torch's profiler."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.record import KernelShare

if TYPE_CHECKING:
    import torch

MOST = 20  # kernels that a record keeps, by their share
SHOWN = 3  # of them in the row's note
NAME = 160  # characters of a kernel's name that are kept


def profiled(
    call: Callable[[], object], device: torch.device, trace: Path | None = None
) -> tuple[KernelShare, ...]:
    """The kernels of one call by their share of its time, the largest first.

    On a GPU what ran on it; on a CPU torch's own operations, by the time that each takes itself.

    Args:
        call: what is called, three times in all.
        device: that it runs on.
        trace: the file for a trace of one call, host and device, that Perfetto and chrome://tracing
            open; None: none. One that cannot be written, on another node say, is left out.
    """
    from torch.profiler import ProfilerActivity

    on_gpu = device.type == "cuda"
    own, both = ProfilerActivity.CPU, [ProfilerActivity.CPU]
    if on_gpu:
        own = ProfilerActivity.CUDA
        both = [ProfilerActivity.CPU, ProfilerActivity.CUDA]
    call()  # what is made once, plans and buffers, is there
    found = _under_profiler(call, device, [own])
    if trace is not None and trace.parent.is_dir():
        with suppress(OSError, RuntimeError):
            _under_profiler(call, device, both).export_chrome_trace(str(trace))
    known = []
    total = 0.0
    for event in found.key_averages():
        time = _microseconds(event, on_gpu)
        if time > 0:
            known.append((event, time))
            total += time
    known.sort(key=lambda pair: pair[1], reverse=True)
    return tuple(
        KernelShare(name=event.key[:NAME], count=int(event.count), share=time / total)
        for event, time in known[:MOST]
    )


def _under_profiler(call: Callable[[], object], device: torch.device, activities: Any) -> Any:
    """The profile of one call, waited for."""
    import torch

    with torch.profiler.profile(activities=activities) as found:
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    return found


def _microseconds(event: Any, on_gpu: bool) -> float:
    """The time that an event takes itself, without what it calls."""
    if on_gpu:
        return float(event.self_device_time_total)
    return float(event.self_cpu_time_total)


def kernels_in_words(kernels: tuple[KernelShare, ...]) -> str:
    """The first few in a note."""
    shown = ", ".join(f"{one.name} {one.share:.0%} ({one.count} x)" for one in kernels[:SHOWN])
    more = len(kernels) - SHOWN
    return f"kernels: {shown or 'none'}{f', and {more} more' if more > 0 else ''}"
