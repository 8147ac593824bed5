"""Runs on for a second after timing, so that the supervisor can read off the energy that calls take. CUDA only."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

WINDOW_S = 1.0  # the counter is renewed every tenth of a second or sooner
BATCH_S = 0.01


def run_on(calls: Sequence[Callable[[], object]], seconds_per_call: float, tokens: float | None) -> dict[str, Any]:
    """Make calls back to back for WINDOW_S seconds.

    Returns:
        start_s, end_s (time.monotonic(), which a supervisor on this machine shares), calls, tokens (of one call).
    """
    import torch

    batch = max(1, int(BATCH_S / seconds_per_call))
    queued: deque[Any] = deque()
    made = 0
    torch.cuda.synchronize()
    start_s = time.monotonic()
    while time.monotonic() - start_s < WINDOW_S:
        for turn in range(made, made + batch):
            calls[turn % len(calls)]()
        made += batch
        queued.append(torch.cuda.Event())  # type: ignore[no-untyped-call]
        queued[-1].record()
        if len(queued) > 2:  # one batch runs and one waits: never idle, never far ahead
            queued.popleft().synchronize()
    torch.cuda.synchronize()
    return {"start_s": start_s, "end_s": time.monotonic(), "calls": made, "tokens": tokens}


ENERGY = "energy"  # where a record's environment says between which moments energy was to be read
