"""Chooses block sizes of the Triton kernels by shape, as measured on GPUs. No torch, no Triton."""

from __future__ import annotations

from dataclasses import dataclass

from ..dilated_attention.pattern import Pattern
from .steps import Steps
from .tiles import tiles_at

MULTIPROCESSORS = 132  # of an H100 or H200


@dataclass(frozen=True)
class Blocks:
    """How a kernel cuts its work.

    Attributes:
        block_m: rows that a program owns.
        block_n: rows on the other side that it meets at a time.
        num_warps: warps of a program.
        num_stages: blocks in flight from memory.
    """

    block_m: int
    block_n: int
    num_warps: int
    num_stages: int

    @property
    def options(self) -> dict[str, int]:
        """As Triton takes them at a launch."""
        return {"num_warps": self.num_warps, "num_stages": self.num_stages}


def forward_blocks(
    pattern: Pattern,
    batch: int,
    head_dim: int,
    item: int,
    causal: bool,
    precision: str,
    block: int | None = None,
) -> Blocks:
    """Blocks of the forward kernel, for elements of `item` bytes: large if tiles are many.

    With keys in blocks, of so many positions, it is launched for each of them.
    """
    if block is None or block >= pattern.seq_len:
        tiles = tiles_at(pattern, batch, 128) / MULTIPROCESSORS
    else:
        counts = Steps.of(pattern, batch, block, causal, 128, 1).counts
        tiles = sum(counts) / len(counts) / MULTIPROCESSORS
    if head_dim > 128:
        return Blocks(64, 32, 8, 2) if item == 2 else Blocks(32, 16, 8, 1)
    if item == 4:
        return _float32_blocks(tiles, head_dim, precision)
    if head_dim > 64:
        return Blocks(128, 128, 8, 3) if tiles > 8 and not causal else Blocks(64, 64, 4, 3)
    return Blocks(128, 64, 8, 3) if tiles > 4 and not causal else Blocks(64, 64, 4, 3)


def _float32_blocks(tiles: float, head_dim: int, precision: str) -> Blocks:
    """For float32, `tiles` of 128 rows for each multiprocessor."""
    if precision == "tf32":
        if head_dim > 64:
            return Blocks(32, 32, 2, 3) if tiles < 2 else Blocks(128, 32, 8, 3)
        if tiles < 0.5:
            return Blocks(32, 64, 2, 3)
        return Blocks(64, 32, 2, 4 if tiles < 4 else 3)  # 2 warps: a multiprocessor runs 4 or more
    if head_dim > 64:
        return Blocks(64, 32, 4, 2) if tiles < 1 else Blocks(128, 64, 8, 1)
    return Blocks(32, 64, 4, 2) if tiles < 2 else Blocks(128, 64, 8, 2)


def backward_blocks(head_dim: int, item: int, precision: str) -> Blocks:
    """Of the backward kernel."""
    if item == 4 and head_dim <= 64:
        return Blocks(128, 32, 8, 2) if precision == "tf32" else Blocks(32, 64, 4, 1)
    if item == 4 and head_dim <= 128:
        return Blocks(32, 32, 4, 2 if precision == "tf32" else 1)
    if item == 4:
        return Blocks(32, 16, 4, 1)
    if head_dim > 128:
        return Blocks(64, 32, 8, 1)
    return Blocks(64, 64, 4, 3 if head_dim <= 64 else 2)
