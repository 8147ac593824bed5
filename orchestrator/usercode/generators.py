"""Where a user's function draws from, on which device and in which modes: set around a call, put
back, and looked at.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@contextmanager
def on_device(device: Any) -> Iterator[None]:
    """Tensors that name no device are made on this one."""
    import torch

    with torch.device(device):
        yield


def modes_left_on() -> str | None:
    """The name of a mode of torch that outlives a call, None: there is none; the one of `on_device`
    computes nothing.
    """
    from torch.overrides import _get_current_function_mode_stack
    from torch.utils._device import DeviceContext
    from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

    functions: Any = _get_current_function_mode_stack  # torch leaves both untyped
    dispatches: Any = _get_current_dispatch_mode_stack
    found = [mode for mode in (*functions(), *dispatches()) if not isinstance(mode, DeviceContext)]
    if not found:
        return None
    return type(found[-1]).__name__


@contextmanager
def seeded(seed: int, device: Any) -> Iterator[None]:
    """Python's, NumPy's and torch's generators start from `seed`, and go on afterwards as if
    nothing had been drawn.
    """
    import numpy as np
    import torch

    python, numpy = random.getstate(), np.random.get_state()
    cards = [torch.device(device)] if torch.device(device).type == "cuda" else []
    with torch.random.fork_rng(devices=cards):
        random.seed(seed)
        np.random.seed(seed % 2**32)
        # torch.manual_seed would have a card that is not in use seeded later: 1 ms for the
        # tracebacks
        torch.default_generator.manual_seed(seed)
        if cards:
            torch.cuda.manual_seed_all(seed)
        try:
            with on_device(device):
                yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


def states_of_torch() -> list[bytes]:
    """Where torch's generators stand, on every device in use: what draws moves one of them."""
    import torch

    generators = [torch.default_generator]
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        generators += torch.cuda.default_generators
    return [generator.get_state().numpy().tobytes() for generator in generators]


def same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two draws hold the same bytes, where NaN equals NaN, and -0 is not 0; what is sparse
    is not looked at.
    """
    import torch

    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if one.layout is not torch.strided:
        return True
    parts = [tensor.detach().contiguous().flatten().view(torch.uint8) for tensor in (one, other)]
    return torch.equal(*parts)
