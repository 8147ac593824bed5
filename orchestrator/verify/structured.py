"""Inputs with structure, made from the workload's own: what unit normal numbers never show.

They are the workload's inputs times exact powers of two, so that values stay on their dtype's grid, and positive,
triangular and positive definite inputs stay what they are. Integers, bools and 8-bit floats are left alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

EDGES, LARGE, SMALL, ZEROS, EQUAL = "edges", "large", "small", "zeros", "equal"
STRUCTURES = (EDGES, LARGE, SMALL, ZEROS, EQUAL)
FINITE_ONLY = (LARGE, ZEROS)  # honest implementations lose digits there: asked for finite values alone
MOST_OF_HALF = 65504 / 4  # beyond this unfused float16 code overflows

Tensors = tuple[torch.Tensor, ...]


def structured(kind: str, inputs: Tensors) -> Tensors | None:
    """Copies of the inputs with this structure; None where none of them can have it.

    edges: the first and last index of every dimension of n entries times 2^min(10, log2(n) / 2), so that a tail that
    is left out is of order one. large: times 64. small: times 2^-10. zeros: 0. equal: along the first dimension all
    entries are the first. In float16 factors are at most 4.
    """
    change = _CHANGES[kind]
    if not any(_is_scaled(tensor) for tensor in inputs):
        return None
    return tuple(change(tensor.detach().clone()) if _is_scaled(tensor) else tensor for tensor in inputs)


def is_comparable(kind: str, expected: torch.Tensor, ordinary: torch.Tensor, dtype: torch.dtype) -> bool:
    """Whether a reference's values on such inputs are within what an honest implementation can compute.

    Args:
        kind: of structure.
        expected: the reference's values on the inputs with structure.
        ordinary: those on the workload's own, of the same shape.
        dtype: of the output.
    """
    if not expected.is_floating_point() and not expected.is_complex():
        return kind not in (ZEROS, EQUAL)  # ties: more than one index may be right
    if expected.shape != ordinary.shape or bool((~expected.isfinite() & ordinary.isfinite()).any()):
        return False
    if dtype is not torch.float16 or not expected.numel():
        return True
    finite = expected[expected.isfinite()]
    return not finite.numel() or float(finite.abs().max()) <= MOST_OF_HALF


def _is_scaled(tensor: torch.Tensor) -> bool:
    return (tensor.dtype.is_floating_point and tensor.dtype.itemsize > 1) or tensor.is_complex()


def _at_edges(tensor: torch.Tensor) -> torch.Tensor:
    most = 2 if tensor.dtype is torch.float16 else 10
    for dim, size in enumerate(tensor.shape):
        if size > 1:
            factor = 2.0 ** min(most, round(math.log2(size) / 2))
            for at in (0, size - 1):
                tensor.select(dim, at).mul_(factor)
    return tensor


def _enlarged(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.mul_(4 if tensor.dtype is torch.float16 else 64)


def _diminished(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.mul_(2.0**-10)


def _equal(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.copy_(tensor[:1].clone().expand_as(tensor)) if tensor.ndim > 1 and len(tensor) else tensor


_CHANGES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    EDGES: _at_edges,
    LARGE: _enlarged,
    SMALL: _diminished,
    ZEROS: torch.Tensor.zero_,
    EQUAL: _equal,
}
