"""Seeds of a trial's inputs, parameters and gradients, each for its own purpose."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def derived_seed(seed: int, *purpose: object) -> int:
    """A seed of 62 bits for one purpose, from the trial's."""
    digest = hashlib.sha256(repr((seed, *purpose)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 2


def salted(seed: int, salt: str) -> int:
    """The seed of an attempt's inputs: with a salt, they cannot be drawn again from what a sweep
    file states.
    """
    return derived_seed(seed, salt) if salt else seed


def state_seed(seed: int) -> int:
    """The seed of the parameters that the harness loads, from the trial's."""
    return derived_seed(seed, "state")


def random_like(tensor: torch.Tensor, seed: int) -> torch.Tensor:
    """Normal random with unit variance, of the same shape, dtype and device."""
    import torch

    generator = torch.Generator(tensor.device).manual_seed(seed)
    return torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype, device=tensor.device)
