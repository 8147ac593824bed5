"""Warms a GPU up by calls back to back, while the supervisor reads the energy that they take.

The same seconds serve twice: what follows is timed at the clocks that a card keeps under load, and
the counter is read while the card does nothing else. Timed blocks would not do: a card waits in
them for the host to run ahead, and takes less power while it waits.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from orchestrator.util.frozen_model import FrozenModel

RAMP_S = 0.06  # a card's power settles, and where it must its clock falls to the power limit
WINDOW_S = 0.33  # the counter is renewed every tenth of a second: three renewals at least
BATCH_S = 0.01
SLOW_S = 0.1  # a call that lasts longer warms the card up by itself


class EnergyWindow(FrozenModel):
    """Calls made back to back, so that the energy of the device in this time is theirs.

    Attributes:
        start_s, end_s: by time.monotonic(), which a supervisor on this machine shares.
        calls: how many were made.
        tokens: of one call; None: the workload has none.
    """

    start_s: float
    end_s: float
    calls: int
    tokens: float | None


def run_warm(calls: Sequence[Callable[[], object]], tokens: float | None) -> EnergyWindow:
    """Make calls back to back for RAMP_S seconds, then for WINDOW_S, in which energy is read."""
    seconds = min(_one_call_s(calls[0]), _one_call_s(calls[-1]))
    if seconds < SLOW_S:
        _run_for(calls, RAMP_S, seconds)
    start_s = time.monotonic()
    made = _run_for(calls, WINDOW_S, seconds)
    return EnergyWindow(start_s=start_s, end_s=time.monotonic(), calls=made, tokens=tokens)


def _one_call_s(call: Callable[[], object]) -> float:
    """Seconds of one call from an idle card to an idle card."""
    import torch

    torch.cuda.synchronize()
    start = time.perf_counter()
    call()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def _run_for(calls: Sequence[Callable[[], object]], window_s: float, call_s: float) -> int:
    """Keep the card busy for so many seconds; returns the count of calls, all of which are over.

    One batch of calls runs and one or two wait, so that the card is never idle and the host never
    far ahead. Of calls that last long, none waits: each more would be seconds too many.
    """
    import torch

    batch = max(1, int(BATCH_S / call_s))
    waiting = 2 if call_s < SLOW_S else 0
    queued: deque[Any] = deque()
    made = 0
    start_s = time.monotonic()
    while time.monotonic() - start_s < window_s:
        for turn in range(made, made + batch):
            calls[turn % len(calls)]()
        made += batch
        queued.append(torch.cuda.Event())  # type: ignore[no-untyped-call]
        queued[-1].record()
        if len(queued) > waiting:
            queued.popleft().synchronize()
    torch.cuda.synchronize()
    return made
