"""Inputs with structure, made from the workload's own: what unit normal numbers never show.

They are the workload's inputs times exact powers of two, or rounded to two bits, so that values
stay on their dtype's grid, and positive, triangular and positive definite inputs stay what they
are. Integers, bools, masks of 0 and 1 and 8-bit floats are left alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from orchestrator.verify.rule.operations import OF_SQUARES, growth, name_of

if TYPE_CHECKING:
    from torch._ops import OpOverload

EDGES, LARGE, SMALL, ZEROS, EQUAL = "edges", "large", "small", "zeros", "equal"
TIES = "ties"
STRUCTURES = (EDGES, LARGE, SMALL, ZEROS, EQUAL, TIES)
# honest implementations lose digits there: asked for finite values alone
FINITE_ONLY = (LARGE, ZEROS)
# of a reference's intermediate values, up to which float16 inputs may grow by more than 4
MOST_ON_THE_WAY = 2.0**10
CORNER = 4  # values along each dimension
LARGER_HALF = (16, 8)

Tensors = tuple[torch.Tensor, ...]


def structured(kind: str, inputs: Tensors) -> Tensors | None:
    """Copies of the inputs with this structure; None where none of them can have it.

    edges: the first and last index of every dimension of n entries times 2^min(10, log2(n) / 2), so
        that a tail that is left out is of order one.
    large: times 64. small: times 2^-10. zeros: 0.
    equal: along the first dimension all entries are the first.
    ties: rounded to two bits, so that many are alike.

    Values between 0 and 1, as of probabilities and pixels, stay there, and masks what they are. In
    float16 factors are at most 4; `larger` may find that inputs can be larger by more.
    """
    change, found, is_changed = _CHANGES[kind], [], False
    for tensor in inputs:
        if not _is_scaled(tensor) or (kind == LARGE and _is_share(tensor)):
            found.append(tensor)
            continue
        found.append(change(tensor.detach().clone()))
        is_changed = True
    return tuple(found) if is_changed else None


def asks_for_gradients(kind: str, dtype: torch.dtype) -> bool:
    """Whether gradients are judged on such inputs.

    At 0 many functions have none (a distance, a deviation); and near it the gradient of a norm
    holds 1 / eps^1.5, which float16 has no room for.
    """
    return kind != ZEROS and not (kind == SMALL and dtype is torch.float16)


def larger(inputs: Tensors, compute: Callable[[Tensors], object]) -> Tensors | None:
    """Float16 inputs times 16 or 8, where no value on the reference's way is too large; None: there
    are none such.

    Unfused float16 code squares and sums in its own dtype, so that not only the output must stay
    far from overflow.
    """
    if not any(tensor.dtype is torch.float16 for tensor in inputs):
        return None
    for factor in LARGER_HALF:
        found = tuple(
            one * factor if one.dtype is torch.float16 and not _is_share(one) else one
            for one in inputs
        )
        if largest_on_the_way(found, compute) <= MOST_ON_THE_WAY:
            return found
    return None


def largest_on_the_way(inputs: Tensors, compute: Callable[[Tensors], object]) -> float:
    """The largest finite value that any operation of a reference gives for these inputs."""
    seen = _LargestValue()
    with seen:
        compute(inputs)
    return seen.largest


class _LargestValue(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """The largest finite floating-point value of an operation, or of a sum of squares within."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.largest = 0.0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # else torch would import its compiler at the first operation: a second or more of every
        # process
        return False

    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """One operation, and a look at what it gave."""
        result = func(*args, **(kwargs or {}))
        if (
            isinstance(result, torch.Tensor)
            and result.is_floating_point()
            and result.numel()
            and not func.is_view
        ):
            self.largest = max(self.largest, _largest(result))
        name = name_of(func)
        if name in OF_SQUARES and args and isinstance(args[0], torch.Tensor) and args[0].numel():
            self.largest = max(self.largest, growth(name, args) * _largest(args[0]) ** 2)
        return result


def _largest(values: torch.Tensor) -> float:
    return float(values.nan_to_num(0.0, 0.0, 0.0).abs().max())


def is_comparable(
    kind: str, expected: torch.Tensor, ordinary: torch.Tensor, dtype: torch.dtype
) -> bool:
    """Whether a reference's values on such inputs are within what an honest implementation can
    compute.

    Args:
        kind: of structure.
        expected: the reference's values on the inputs with structure.
        ordinary: those on the workload's own, of the same shape.
        dtype: of the output.
    """
    if not expected.is_floating_point() and not expected.is_complex():
        return kind not in (ZEROS, EQUAL, TIES)  # more than one index may be right
    if expected.dtype.itemsize == 1:  # which know no `isfinite`
        expected, ordinary = expected.double(), ordinary.double()
    if expected.shape != ordinary.shape or bool((~expected.isfinite() & ordinary.isfinite()).any()):
        return False
    if not dtype.is_floating_point and not dtype.is_complex:
        return True
    # beyond this an implementation's own way may overflow, where the reference's does not
    finite = expected[expected.isfinite()]
    return not finite.numel() or float(finite.abs().max()) <= torch.finfo(dtype).max / 4


def _is_scaled(tensor: torch.Tensor) -> bool:
    if tensor.is_complex():
        return True
    return tensor.is_floating_point() and tensor.dtype.itemsize > 1 and not _is_mask(tensor)


def _is_mask(tensor: torch.Tensor) -> bool:
    """Whether all values are 0 or 1, and some are each: a mask that is kept as numbers."""
    if not _of_all(tensor, lambda values: (values == 0) | (values == 1)):
        return False
    return bool((tensor == 0).any()) and bool((tensor == 1).any())


def _is_share(tensor: torch.Tensor) -> bool:
    """Whether all values lie between 0 and 1, and not all of them at these ends."""
    if tensor.is_complex():
        return False
    if not _of_all(tensor, lambda values: (values >= 0) & (values <= 1)):
        return False
    return bool(((tensor > 0) & (tensor < 1)).any())


def _of_all(tensor: torch.Tensor, holds: Callable[[torch.Tensor], torch.Tensor]) -> bool:
    """Whether something holds for every value. Of most inputs a corner tells that it does not."""
    corner = tensor[(slice(CORNER),) * tensor.ndim]
    return bool(holds(corner).all()) and bool(holds(tensor).all())


def _at_edges(tensor: torch.Tensor) -> torch.Tensor:
    """Probabilities and pixels, between 0 and 1, stay so: all else is made smaller instead."""
    most = 2 if tensor.dtype is torch.float16 else 10
    is_share, largest = _is_share(tensor), 1.0
    for dim, size in enumerate(tensor.shape):
        if size > 1:
            factor = 2.0 ** min(most, round(math.log2(size) / 2))
            largest *= factor
            for at in (0, size - 1):
                tensor.select(dim, at).mul_(factor)
    return tensor.div_(largest) if is_share else tensor


def _enlarged(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.mul_(4 if tensor.dtype is torch.float16 else 64)


def _diminished(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.mul_(2.0**-10)


def _equal(tensor: torch.Tensor) -> torch.Tensor:
    return (
        tensor.copy_(tensor[:1].clone().expand_as(tensor))
        if tensor.ndim > 1 and len(tensor)
        else tensor
    )


def _tied(tensor: torch.Tensor) -> torch.Tensor:
    """Mantissas of 1, 1.5 and 2 alone. Signs stay, nothing becomes 0, and no value below 1 becomes
    1 where all lie between 0 and 1.
    """
    parts = torch.view_as_real(tensor) if tensor.is_complex() else tensor
    wide = parts if parts.dtype is torch.float64 else parts.float()
    mantissa, exponent = torch.frexp(wide)
    steps = (mantissa * 4).floor() if _is_share(wide) else (mantissa * 4).round()
    parts.copy_(torch.ldexp(steps / 4, exponent))
    return tensor


_CHANGES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    EDGES: _at_edges,
    LARGE: _enlarged,
    SMALL: _diminished,
    ZEROS: torch.Tensor.zero_,
    EQUAL: _equal,
    TIES: _tied,
}
