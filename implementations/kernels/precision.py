"""tf32 where a trial asks for it, while its own call runs, and never beyond."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch

from orchestrator.workload import Config


@contextmanager
def matmul_precision(tf32: bool) -> Iterator[None]:
    """Multiply float32 matrices on CUDA in tf32, or not, within the block; restore it after."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = tf32
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def at_precision(
    config: Config, function: Callable[..., torch.Tensor]
) -> Callable[..., torch.Tensor]:
    """The function under the trial's matmul_precision; unchanged where that has no meaning."""
    if config.device.type != "cuda" or config.dtype != torch.float32:
        return function
    tf32 = config.matmul_precision == "tf32"

    @wraps(function)
    def scoped(*args: Any) -> torch.Tensor:
        with matmul_precision(tf32):
            return function(*args)

    return scoped


def at_autocast(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The tensors in autocast's dtype if it is on for their device, as torch's attention does."""
    kind = tensors[0].device.type
    if not torch.is_autocast_enabled(kind):
        return tensors
    dtype = torch.get_autocast_dtype(kind)
    cast = []
    for t in tensors:
        if t.is_floating_point():
            t = t.to(dtype)
        cast.append(t)
    return tuple(cast)
