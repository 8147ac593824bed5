"""Candidates of a search, for what may happen to one among others in one process."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import torch

short_of_memory: set[int] = set()  # processes in which a candidate was


def build(config: Any) -> Any:
    """A product of matrices, `times` over; `fault` says what else it does, `nap` how long it takes
    to build, in seconds.
    """
    time.sleep(config.options.get("nap", 0.0))
    times, fault = config.options.get("times", 1), config.options.get("fault", "")
    if folder := config.options.get("folder"):  # what compiling leaves on disk
        Path(folder, f"{times}-{os.getpid()}").touch()

    def product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        if fault == "abort":
            os.abort()
        if fault == "exit":
            os._exit(0)
        if fault == "hang":
            time.sleep(600)
        if fault == "oom once" and os.getpid() not in short_of_memory:
            short_of_memory.add(os.getpid())
            raise torch.OutOfMemoryError("so it was asked")
        if fault == "raise":
            raise ValueError("so it was asked")
        for _ in range(times):
            found = a @ b
        return found + 1 if fault == "wrong" else found

    return product
