"""Whole tensors from the shares of ranks, and whether copies of one value agree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from orchestrator.outcome import Outcome
from orchestrator.usercode.implementation import AttemptEndedError

if TYPE_CHECKING:
    import torch

# Relative difference up to which copies of one value on several ranks are the same: they may add in
# other orders.
SAME = {"float64": 1e-10, "float32": 1e-4, "float16": 2e-2, "bfloat16": 2e-2}


def element_numbers(tensor: torch.Tensor) -> torch.Tensor:
    """A number for each element: what `shard` makes of it says which elements a rank has."""
    import torch

    return torch.arange(tensor.numel(), device=tensor.device).view(tensor.shape)


def assembled(
    name: str, whole: torch.Tensor, parts: Sequence[tuple[torch.Tensor, torch.Tensor]]
) -> torch.Tensor:
    """The gradient of a whole input from (labels, gradient) of every rank's share of it.

    Raises:
        AttemptEndedError: mismatch, where ranks that share elements differ on them.
    """
    import torch

    dtype = parts[0][1].dtype
    found = torch.zeros(whole.numel(), dtype=dtype, device=whole.device)
    seen = torch.zeros(whole.numel(), dtype=torch.bool, device=whole.device)
    for rank, (labels, part) in enumerate(parts):
        places, values = labels.reshape(-1), part.to(whole.device).reshape(-1)
        shared = seen[places]
        if shared.any():
            before, now = found[places][shared].double(), values[shared].double()
            error = float((now - before).norm() / before.norm().clamp(min=1e-30))
            if not error <= SAME.get(str(dtype).removeprefix("torch."), 0.0):
                text = (
                    f"{name}: rank {rank} has another gradient of the same input, relative "
                    f"difference {error:.1e}"
                )
                raise AttemptEndedError(Outcome.MISMATCH, "RanksDiffer", text)
        found[places] = values
        seen[places] = True
    return found.view(whole.shape)
