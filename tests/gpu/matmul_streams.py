"""Matrix products that leave their work on a stream nobody waits for, and ones that take memory on
the card.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from orchestrator.workload import Config

Matmul = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def starts_too_early(config: Config) -> Matmul:
    """Does not wait for what the caller has queued: it may read inputs that are not there yet."""
    side = torch.cuda.Stream()

    def matmul(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        with torch.cuda.stream(side):
            out = a @ b
        torch.cuda.current_stream().wait_stream(side)
        return out

    return matmul


def returns_too_early(config: Config) -> Matmul:
    """Is not waited for: its events say that it took no time at all."""
    side = torch.cuda.Stream()

    def matmul(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            return a @ b

    return matmul


def joins_its_stream(config: Config) -> Matmul:
    """A side stream used as it should be."""
    side = torch.cuda.Stream()

    def matmul(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            out = a @ b
        torch.cuda.current_stream().wait_stream(side)
        return out

    return matmul


def waits_for_the_device(config: Config) -> Matmul:
    """Honest, and reads a value at each call: it cannot be launched ahead of the device."""

    def matmul(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        out = a @ b
        out[0, 0, 0].item()
        return out

    return matmul


def needs_a_gibibyte(config: Config) -> Matmul:
    """Fits where there is a GiB for its workspace."""

    def matmul(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        workspace = torch.empty(2**30, dtype=torch.int8, device=a.device)
        return a @ b + workspace[0] * 0

    return matmul
