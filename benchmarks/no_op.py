"""A workload and an implementation that are never run: scale.py measures what is around them.

Like most workloads of users it is a file, which the driver reads and does not import.
"""

from __future__ import annotations

import torch


def inputs(number: int) -> torch.Tensor:
    """x: (8,) float32; `number` tells one trial from another."""
    return torch.full((8,), float(number))


def reference(x: torch.Tensor) -> torch.Tensor:
    """The same values."""
    return x


def nothing(x: torch.Tensor) -> torch.Tensor:
    """The same values."""
    return x
