"""A case: a problem with implementations that are right, and others that are wrong in a way that
kernels are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

Tensors = tuple[torch.Tensor, ...]
Implementation = Callable[..., Any]
ALL = ("float32", "float16", "bfloat16")
WIDE = ("float64", "float32", "tf32", "float16", "bfloat16")


@dataclass(frozen=True)
class Case:
    """One operator at one size.

    Attributes:
        inputs: (generator) -> float64 tensors, cast to the dtype of the trial; integers stay.
        reference: the inputs in float64 -> a tensor, or a mapping of outputs.
        right, wrong: implementations by name; of wrong ones the name says the fault.
        dtypes: precisions to try; "tf32" is float32, emulated.
    """

    name: str
    inputs: Callable[[torch.Generator], Tensors]
    reference: Implementation
    right: Mapping[str, Implementation]
    wrong: Mapping[str, Implementation]
    dtypes: tuple[str, ...] = ALL


def normals(*shapes: tuple[int, ...]) -> Callable[[torch.Generator], Tensors]:
    """Draws tensors of unit normal numbers."""

    def draw(generator: torch.Generator) -> Tensors:
        return tuple(
            torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes
        )

    return draw


def uniforms(*shapes: tuple[int, ...]) -> Callable[[torch.Generator], Tensors]:
    """Draws tensors of numbers in [0, 1), as torch.rand makes them."""

    def draw(generator: torch.Generator) -> Tensors:
        return tuple(
            torch.rand(shape, generator=generator, dtype=torch.float64) for shape in shapes
        )

    return draw


def fused(function: Implementation) -> Implementation:
    """Computed in float32 (float64 for float64) and rounded once, as a fused kernel does."""

    def call(*inputs: torch.Tensor) -> Any:
        dtype = next(value.dtype for value in inputs if value.is_floating_point())
        if dtype is torch.float64:
            return function(*inputs)
        wide = tuple(value.float() if value.is_floating_point() else value for value in inputs)
        return _rounded(function(*wide), dtype)

    return call


def damaged(function: Implementation, change: Callable[[torch.Tensor], Any]) -> Implementation:
    """A fused implementation, some of whose output is changed in place."""
    right = fused(function)

    def call(*inputs: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = right(*inputs).clone()
        change(out)
        return out

    return call


def scaled(function: Implementation, factor: float) -> Implementation:
    """A fused implementation whose output is multiplied before it is rounded."""
    return fused(lambda *inputs: function(*inputs) * factor)


def fill(place: Any, value: float = 0.0) -> Callable[[torch.Tensor], None]:
    """Overwrites a part of the output: what was never written."""

    def change(out: torch.Tensor) -> None:
        out[place] = value

    return change


def times(place: Any, factor: float) -> Callable[[torch.Tensor], None]:
    """Multiplies a part of the output."""

    def change(out: torch.Tensor) -> None:
        out[place] *= factor

    return change


def _rounded(value: Any, dtype: torch.dtype) -> Any:
    if isinstance(value, torch.Tensor):
        return value.to(dtype) if value.is_floating_point() else value
    return {name: _rounded(one, dtype) for name, one in value.items()}
