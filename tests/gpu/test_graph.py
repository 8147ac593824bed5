"""The time of a call as a CUDA graph is that of its kernels, without Python between them."""

from __future__ import annotations

import pytest
import torch

from orchestrator.machine import nvml
from orchestrator.measure.graph import NotCapturedError, graph_latency_ms

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(nvml.count() == 0, reason="needs a CUDA device")]
DEVICE = torch.device("cuda")


def test_a_call_that_can_be_captured_has_a_time() -> None:
    """Many small kernels, which the host launches one after the other."""
    x = torch.randn(1000, device=DEVICE)

    def call() -> object:
        y = x
        for _ in range(20):
            y = y + 1
        return y

    assert graph_latency_ms(call, DEVICE) > 0


def test_a_call_that_waits_for_the_device_cannot_be_captured() -> None:
    """It reads a value; the reason is CUDA's own. A capture that failed comes last in a process."""
    x = torch.randn(1000, device=DEVICE)
    with pytest.raises(NotCapturedError, match="captur"):
        graph_latency_ms(lambda: x * x.sum().item(), DEVICE)
