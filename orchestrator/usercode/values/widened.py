"""A reference in float64 throughout, where its own text says float32, float16 or bfloat16.

References that come with a problem of another format compute in the dtypes that their authors wrote
down. What they say there is as far from the truth as an implementation may be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

NARROW = (torch.float32, torch.float16, torch.bfloat16)
_CASTS = (torch.Tensor.float, torch.Tensor.half, torch.Tensor.bfloat16)
# Bits are read as they lie there
_OF_BITS = (torch.Tensor.view, torch.frombuffer)


class _Wide(TorchFunctionMode):
    """Has every operation that is asked for a narrow float give float64."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """One operation, asked for float64 in place of a narrower float."""
        kwargs = kwargs or {}
        if func in _OF_BITS:
            return func(*args, **kwargs)
        if func in _CASTS and not args[0].is_complex():
            return torch.Tensor.double(args[0])
        wide = {name: _wide(value) for name, value in kwargs.items()}
        return func(*map(_wide, args), **wide)


@contextmanager
def widened() -> Iterator[None]:
    """What is computed inside is computed in float64: casts to narrower floats are left out.

    Floats of eight bits stay what they are: a reference that casts to them quantises.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with _Wide():
            yield
    finally:
        torch.set_default_dtype(before)


def _wide(value: Any) -> Any:
    if not isinstance(value, torch.dtype):
        return value
    return torch.float64 if value in NARROW else value
