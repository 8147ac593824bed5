"""Inputs in memory: rewritten behind the back of whatever remembers them, and copied."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    Tensors = tuple[torch.Tensor, ...]


def rewrite(old: Tensors, fresh: Tensors) -> Tensors | None:
    """Write fresh inputs into used tensors; the used ones, or None where they do not fit.

    `.data` does not count as a new version of the tensor. Work that an implementation pushes to a
    stream of its own without waiting for the current one starts before the inputs are there.
    """
    if any(used.shape != drawn.shape for used, drawn in zip(old, fresh, strict=True)):
        return None
    for used, drawn in zip(old, fresh, strict=True):
        own_elements(used.data).copy_(own_elements(drawn.data))
    return old


def copied(inputs: Tensors) -> Tensors:
    """Copies with the same strides, expanded dimensions included."""
    found = []
    for tensor in inputs:
        held = own_elements(tensor.detach()).clone()
        found.append(held.expand(tensor.shape).requires_grad_(tensor.requires_grad))
    return tuple(found)


def own_elements(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor without the repeats of expanded dimensions, which lie in the same memory."""
    for dim, (size, stride) in enumerate(zip(tensor.shape, tensor.stride(), strict=True)):
        if stride == 0 and size > 1:
            tensor = tensor.narrow(dim, 0, 1)
    return tensor
