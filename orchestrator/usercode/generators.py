"""Where a user's function draws from, and on which device: set around a call, and put back."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def on_device(device: Any) -> Iterator[None]:
    """Tensors that name no device are made on this one."""
    import torch

    with torch.device(device):
        yield


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
        # torch.manual_seed would have a card that is not in use seeded later: 1 ms for the tracebacks
        torch.default_generator.manual_seed(seed)
        if cards:
            torch.cuda.manual_seed_all(seed)
        try:
            with on_device(device):
                yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
