"""Memory that a call is given to write into: no input, since nobody reads what is in it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


class Buffer:
    """Stands in a tree of inputs for a tensor that each call finds full of nonsense.

    Args:
        like: a tensor of its shape, strides and dtype.
    """

    def __init__(self, like: torch.Tensor) -> None:
        self._like = like.to("meta")

    def made(self, device: Any, *, wide: bool = False) -> torch.Tensor:
        """The memory, with NaN (integers: large numbers) in it; a `wide` one in float64."""
        import torch

        dtype = self._like.dtype
        if wide and dtype.is_floating_point:
            dtype = torch.float64
        made = torch.empty_like(self._like, device=device, dtype=dtype)
        return spoilt(made)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Buffer):
            return False
        one, another = self._like, other._like
        return (one.shape, one.dtype) == (another.shape, another.dtype)

    def __hash__(self) -> int:
        return hash((self._like.shape, self._like.dtype))

    def __repr__(self) -> str:
        return f"Buffer({tuple(self._like.shape)}, {self._like.dtype})"


def spoilt(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor itself, with what no answer holds written into it."""
    import torch

    if tensor.is_floating_point() or tensor.is_complex():
        return tensor.fill_(math.nan)
    return tensor if tensor.dtype is torch.bool else tensor.fill_(0x5A)
