"""Block sizes of the Triton kernels: what suits which shape on the GPUs that were measured. No torch, no Triton."""

from __future__ import annotations

from dataclasses import dataclass


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
