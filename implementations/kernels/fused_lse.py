"""All branches of dilated attention under lse, where every head takes each of them.

Two launches: the fused kernel over all pieces of the pattern, whose results stay apart, row by row
with their log-sum-exps; then one that owns positions of the output and merges them. The backward
pass is three: the fused two, which with the log-sum-exp of the merged result find what each piece
adds to dq, dk and dv, and one that adds it up. Parts are held in the inputs' dtype, as results of
torch's own calls are; their sums are in float32. Memory beside inputs and output: the selected rows
of all branches once, in the backward pass three times.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from .fused import FusedPlan, Layout, Scalars, Tensors
from .launch import Launch
from .tiles import entries_of_heads

# Elements in float32 that a program of the last launch holds: of the output, of each gradient.
OUTPUT_BLOCK, GRADIENT_BLOCK = 4096, 2048
GATHER = {"num_warps": 4}


@dataclass(frozen=True)
class LsePlan(FusedPlan):
    """What does not change from call to call."""

    def _laid_out(self, qkv: Tensors, aligned: bool) -> Layout:
        return LseLayout(self, qkv, aligned)


class LseLayout(Layout):
    """The launches of a plan for inputs of one shape and layout."""

    parts = True

    def __init__(self, plan: FusedPlan, qkv: Tensors, aligned: bool) -> None:
        super().__init__(plan, qkv, aligned)
        self.dtype = qkv[0].dtype
        self.rows = self.shape[0] * plan.rows
        self._gathers: dict[bool, Launch] = {}

    @cached_property
    def tables(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The pieces, and which of them each head takes: see `tiles.entries_of_heads`."""
        found = entries_of_heads(self.plan.pattern)
        return self.front[1], torch.tensor(found, dtype=torch.int32, device=self.device)

    def attend(self, qkv: Tensors, out: torch.Tensor, lse: torch.Tensor, keep: bool) -> None:
        """Fill in the output and, to keep them, log-sum-exps of the merged result."""
        parts = self._compact()
        sums = torch.empty(self.rows, dtype=torch.float32, device=self.device)
        self.forward(True)(*qkv, parts, sums, self.front[1], *self.forward_scalars)
        self._gather(keep)(parts, sums, out, lse, *self.tables, *self.scalars)

    def differentiate(
        self, gradients: Launch, asked: tuple[torch.Tensor, ...], found: Tensors, scalars: Scalars
    ) -> None:
        """Fill in dq, dk and dv by the kernel of what each piece adds, and one that adds it up."""
        parts = (self._compact(), self._compact(), self._compact())
        gradients(*asked, *parts, self.back[1], *scalars)
        self._gather_gradients(*parts, *found, *self.tables, *self.scalars)

    def _compact(self) -> torch.Tensor:
        """Room for the selected rows of all pieces."""
        shape = (self.rows, self.plan.head_dim)
        return torch.empty(shape, dtype=self.dtype, device=self.device)

    def _gather(self, keep: bool) -> Launch:
        """The kernel that merges outputs; it may keep log-sum-exps."""
        if keep not in self._gathers:
            from .triton_gather import gather_kernel

            self._gathers[keep] = self._over_positions(gather_kernel, OUTPUT_BLOCK, {"KEEP": keep})
        return self._gathers[keep]

    @cached_property
    def _gather_gradients(self) -> Launch:
        """The kernel that adds up gradients."""
        from .triton_gather import gather_gradients_kernel

        return self._over_positions(gather_gradients_kernel, GRADIENT_BLOCK, {})

    def _over_positions(self, kernel: Any, elements: int, more: dict[str, Any]) -> Launch:
        """A kernel whose programs own positions of a head, so many elements each."""
        batch, seq_len, heads = self.scalars
        block = elements // self.common["WIDTH"]
        constants = {
            "BRANCHES": len(self.plan.pattern.segment_lengths),
            **self.common,
            "BLOCK_M": block,
            **more,
        }
        grid = (batch * heads * -(-seq_len // block), 1, 1)
        return Launch(kernel, grid, constants, GATHER)
