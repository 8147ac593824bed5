"""Whether two calls gave the same: bit for bit, or as nearly as sums in another order do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.usercode.trees import leaves

if TYPE_CHECKING:
    import torch


def same_bytes(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors of one dtype hold the same bits: NaN is what it was."""
    import torch

    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if one.dtype.itemsize > 1 and torch.equal(one, other):
        return True
    return bool((_bytes(one) == _bytes(other)).all())


def alike(one: Any, other: Any, difference: float) -> bool:
    """Whether two trees have the same leaves; floating-point tensors up to a relative difference of
    the whole, and with NaN and infinities in the same places.
    """
    pairs = zip(leaves(one), leaves(other), strict=False)
    return all(_leaves_alike(left, right, difference) for (_, left), (_, right) in pairs)


def _leaves_alike(one: Any, other: Any, difference: float) -> bool:
    import torch

    if not isinstance(one, torch.Tensor) or not isinstance(other, torch.Tensor):
        return bool(one == other)
    if one.shape != other.shape:
        return False
    if not (one.is_floating_point() or one.is_complex()) or one.dtype.itemsize == 1:
        return same_bytes(one, other)
    left, right = one.detach(), other.detach()
    finite = left.isfinite()
    if not torch.equal(finite, right.isfinite()):
        return False
    away = torch.where(finite, left - right, 0).abs().double().norm()
    size = torch.where(finite, right, 0).abs().double().norm()
    return bool(away <= difference * size)


def _bytes(tensor: torch.Tensor) -> torch.Tensor:
    import torch

    return tensor.detach().resolve_conj().contiguous().reshape(-1).view(torch.uint8)
