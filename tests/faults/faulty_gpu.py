"""Implementations that maltreat a GPU; each is a `build`, and does its worst when it is called."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
import time
from typing import Any

import torch
import triton
import triton.language as tl

from tests.faults.faulty import when_called

FOREVER_CYCLES = 2**50


@triton.jit
def _stray(address):  # a jitted function takes no annotations but constexpr
    tl.store(address.to(tl.int64).to(tl.pointer_type(tl.int32)), 1)


@when_called
def eats_device_memory(config: Any) -> None:
    """Through torch's allocator, until it refuses."""
    hoard = []
    while True:
        hoard.append(torch.empty(2**28, device=config.device))


@when_called
def eats_device_memory_by_the_driver(config: Any) -> None:
    """Past torch's allocator and its cap: 12 GiB of the driver itself."""
    pointer = ctypes.c_uint64()
    torch.empty(1, device=config.device)
    assert (
        ctypes.CDLL("libcuda.so.1").cuMemAlloc_v2(
            ctypes.byref(pointer), ctypes.c_size_t(12 * 2**30)
        )
        == 0
    )
    time.sleep(600)


@when_called
def writes_astray(config: Any) -> None:
    """An illegal address: the context is broken from here on."""
    _stray[(1,)](64)  # the first page is never mapped
    torch.cuda.synchronize()


@when_called
def asserts_on_device(config: Any) -> None:
    """An index out of range, found by the kernel."""
    torch.arange(4, device=config.device)[torch.tensor([2**20], device=config.device)]
    torch.cuda.synchronize()


@when_called
def works_for_a_while(config: Any) -> None:
    """Keeps the device busy for six seconds, and looks at every result."""
    ones = torch.ones(1024, 1024, device=config.device)
    until, count = time.monotonic() + 6.0, 0
    while time.monotonic() < until:
        assert (ones @ ones).eq(1024).all().item()
        count += 1
    print("right for", count, "products")


@when_called
def hangs_in_a_kernel(config: Any) -> None:
    torch.cuda._sleep(FOREVER_CYCLES)
    torch.cuda.synchronize()


@when_called
def dies_in_mid_kernel(config: Any) -> None:
    torch.cuda._sleep(FOREVER_CYCLES)
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGKILL)).start()
    torch.cuda.synchronize()


@when_called
def segfaults_in_mid_kernel(config: Any) -> None:
    torch.cuda._sleep(FOREVER_CYCLES)
    ctypes.string_at(0)
