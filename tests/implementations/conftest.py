"""Fixtures of the tests of implementations."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def steady() -> Iterator[None]:
    """One thread, quickest for small tensors and kind to other processes; the same random numbers
    every time.
    """
    torch.manual_seed(0)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
