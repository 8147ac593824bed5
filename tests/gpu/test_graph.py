"""The time of a call as a CUDA graph is that of its kernels, without Python between them."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import pytest
import torch

from orchestrator.machine import nvml
from orchestrator.measure.graph import NotCapturedError, graph_latency_ms

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(nvml.count() == 0, reason="needs a CUDA device")]
DEVICE = "cuda"


def latency_ms(kernels: int) -> float:
    """Of a call of so many small kernels, which the host launches one after the other."""
    x = torch.randn(1000, device=DEVICE)

    def call() -> object:
        y = x
        for _ in range(kernels):
            y = y + 1
        return y

    return graph_latency_ms(call, torch.device(DEVICE))


def complaint() -> str:
    """Of a call that waits for the device, for it reads a value."""
    x = torch.randn(1000, device=DEVICE)
    try:
        graph_latency_ms(lambda: x * x.sum().item(), torch.device(DEVICE))
    except NotCapturedError as error:
        return str(error)
    return ""


def test_more_kernels_take_longer() -> None:
    """Ten times as many do more than twice as much, whatever one launch of the graph takes."""
    assert 0 < 2 * latency_ms(20) < latency_ms(200)


def test_a_call_that_waits_for_the_device_cannot_be_captured() -> None:
    """The reason is CUDA's own. In a process of its own: a capture that failed leaves the device of
    its process unusable.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        assert "captur" in pool.submit(complaint).result(timeout=120)
