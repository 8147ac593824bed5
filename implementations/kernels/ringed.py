"""All branches of dilated attention under head_groups: one launch for each block of keys.

The backward pass is the fused one, in two launches: it owns rows and keys in turn and carries
nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch

from ..kernels import bound
from .fused import FusedPlan, Layout, Tensors
from .launch import Launch
from .schedule import whole_units
from .steps import Steps


@dataclass(frozen=True)
class RingPlan(FusedPlan):
    """What does not change from call to call.

    Attributes:
        block: positions of a block of keys.
    """

    block: int

    def _laid_out(self, qkv: Tensors, aligned: bool) -> Layout:
        return RingLayout(self, qkv, aligned)


class RingLayout(Layout):
    """The launches of a plan for inputs of one shape and layout."""

    plan: RingPlan
    carries = True

    def __init__(self, plan: RingPlan, qkv: Tensors, aligned: bool) -> None:
        super().__init__(plan, qkv, aligned)
        self.in_place = qkv[0].dtype == torch.float32
        self.item = qkv[0].element_size()
        self._launches: dict[bool, tuple[Launch, ...]] = {}

    @cached_property
    def steps(self) -> Steps:
        """The launches' tables: rows in as few windows as keep the state within the bound."""
        plan, batch = self.plan, self.shape[0]
        n, rate = plan.pattern.seq_len, max(piece.rate for piece in plan.pattern.pieces)
        blocks, size = plan.forward, n
        allowed = bound.budget(self.shape.numel(), self.item)
        allowed = max(allowed - batch * plan.rows * bound.FLOAT, allowed / 4)
        while True:
            steps = Steps.of(
                plan.pattern, batch, plan.block, plan.causal, blocks.block_m, blocks.block_n, size
            )
            need = steps.carried * plan.head_dim * bound.FLOAT
            if self.in_place or need <= allowed or size <= blocks.block_m * rate:
                return steps
            size = max(
                blocks.block_m * rate, min(size - 1, whole_units(int(size * allowed / need), rate))
            )

    @cached_property
    def tables(self) -> tuple[torch.Tensor, ...]:
        """The tables on the device, one for each launch."""
        return torch.tensor(self.steps.tables, dtype=torch.int32, device=self.device).unbind()

    def launches(self, keep: bool) -> tuple[Launch, ...]:
        """The kernel once for each step; it may keep the log-sum-exps of all rows."""
        if keep not in self._launches:
            from .triton_ring import ring_kernel

            blocks, plan = self.plan.forward, self.plan
            constants = {
                "ENTRIES": self.steps.entries,
                **self.common,
                "UNIT": self.unit,
                "BLOCK_M": blocks.block_m,
                "BLOCK_N": blocks.block_n,
                "CAUSAL": plan.causal,
                "EVEN": self.steps.even,
                "WIDE": self.wide(blocks, self.strides),
                "KEEP": keep,
                "PRECISION": plan.precision,
                "IN_PLACE": self.in_place,
            }
            self._launches[keep] = tuple(
                Launch(ring_kernel, (count, 1, 1), constants, blocks.options, reuse=self.aligned)
                for count in self.steps.counts
            )
        return self._launches[keep]

    def attend(self, qkv: Tensors, out: torch.Tensor, lse: torch.Tensor, keep: bool) -> None:
        """Fill in the output and log-sum-exps, step by step."""
        state = out
        if not self.in_place:
            size = self.steps.carried * self.plan.head_dim
            state = torch.empty(size, dtype=torch.float32, device=self.device)
        for launch, table in zip(self.launches(keep), self.tables, strict=True):
            launch(*qkv, out, lse, state, table, *self.forward_scalars)
