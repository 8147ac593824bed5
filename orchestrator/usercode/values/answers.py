"""What calls gave: kept, and held against another's, bit for bit or as nearly as sums in another
order come out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.usercode.values.trees import leaves, mapped

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
    ones, others = list(leaves(one)), list(leaves(other))
    if len(ones) != len(others):
        return False
    for (name, left), (other_name, right) in zip(ones, others, strict=True):
        if name != other_name or not _leaves_alike(left, right, difference):
            return False
    return True


def snapshot(returned: Any) -> Any:
    """The same tree with its tensors as they are now, whatever is written into them later."""
    import torch

    def copied(leaf: Any) -> Any:
        return leaf.detach().clone() if isinstance(leaf, torch.Tensor) else leaf

    return mapped(returned, copied)


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
