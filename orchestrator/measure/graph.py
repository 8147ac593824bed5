"""The time of a call as a CUDA graph: captured once, replayed, no Python between its kernels."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from orchestrator.usercode.values.answers import alike, snapshot

if TYPE_CHECKING:
    import torch

WARM_UP, BLOCKS = 3, 15
BLOCK_S, MOST_REPLAYS = 0.002, 200
ALIKE = 2.0**-6  # relative difference of a replay from the call that is another answer


class NotCapturedError(Exception):
    """The call cannot be captured, or its replay gives something else."""


def graph_figures(
    call: Callable[[], object], device: torch.device
) -> tuple[dict[str, float], tuple[str, ...]]:
    """That time by its name; or nothing, and a note that says why the call cannot be captured."""
    try:
        return {"graph_latency_ms": graph_latency_ms(call, device)}, ()
    except NotCapturedError as error:
        return {}, (f"not captured as a CUDA graph: {error}",)


def graph_latency_ms(call: Callable[[], object], device: torch.device) -> float:
    """Median time of one replay in milliseconds, replays back to back.

    It is to be the last thing that a process does on its device: what fails while it is captured
    may leave the device unusable.

    Args:
        call: one call on the same inputs every time, which it does not change.
        device: a CUDA device.

    Raises:
        NotCapturedError: naming the reason.
    """
    import torch

    side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    try:
        side.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                eager = call()
        torch.cuda.current_stream(device).wait_stream(side)
        torch.cuda.synchronize(device)
        wanted = snapshot(eager)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            captured = call()
        graph.replay()
        torch.cuda.synchronize(device)
        found = snapshot(captured)
    except Exception as error:
        text = str(error).strip().splitlines()
        raise NotCapturedError(text[0] if text else type(error).__name__) from error
    if not alike(found, wanted, ALIKE):
        raise NotCapturedError("a replay gives another output than the call")
    replays = 1
    while replays < MOST_REPLAYS and _seconds(graph, replays) < BLOCK_S:
        replays = min(2 * replays, MOST_REPLAYS)
    return 1000 * statistics.median(_seconds(graph, replays) for _ in range(BLOCKS)) / replays


def _seconds(graph: torch.cuda.CUDAGraph, replays: int) -> float:
    import torch

    event: Any = torch.cuda.Event
    start, end = event(enable_timing=True), event(enable_timing=True)
    start.record()
    for _ in range(replays):
        graph.replay()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) / 1000
