"""What one rank does for a pattern: which pieces it computes alone, and which with other ranks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

from ..dilated_attention.pattern import Pattern, Piece
from .dense import dense_kernel
from .ring_exchange import Shared
from .ring_shares import Shares, groups_of, is_local
from .sdpa import Kernel


@dataclass(frozen=True)
class RanksPlan:
    """What to do on this rank for one pattern.

    Attributes:
        pattern: of the whole sequence.
        head_dim: features of a head, without padding.
        causal: rows attend only to what is not after them.
        tf32: products of float32 may be in tf32 on CUDA.
        local: pieces whose segments lie within a rank.
        shared: pieces that ranks share.
    """

    pattern: Pattern
    head_dim: int
    causal: bool
    tf32: bool
    local: tuple[Piece, ...]
    shared: tuple[Shared, ...]

    @classmethod
    def of(
        cls,
        pattern: Pattern,
        head_dim: int,
        causal: bool,
        tf32: bool,
        rank: int,
        world_size: int,
        device: torch.device,
    ) -> RanksPlan:
        """Made by every rank at the same time: it makes process groups."""
        held = pattern.seq_len // world_size
        groups: dict[range, Any] = {range(world_size): None}
        shared = []
        for piece in pattern.pieces:
            if is_local(piece, held):
                continue
            for ranks in groups_of(piece, held, world_size):
                if ranks not in groups:  # every rank makes every group, its own or not
                    groups[ranks] = dist.new_group(list(ranks))
                if rank in ranks:
                    shares = Shares(piece, held, ranks, causal)
                    shared.append(Shared(shares, rank - ranks[0], groups[ranks], device))
        local = tuple(piece for piece in pattern.pieces if is_local(piece, held))
        return cls(pattern, head_dim, causal, tf32, local, tuple(shared))

    @property
    def mixes(self) -> bool:
        """Whether heads take several pieces, whose results are merged."""
        return self.pattern.mixing == "lse"

    def kernel(self, q: torch.Tensor, k: torch.Tensor, backward: bool = False) -> Kernel:
        """The kernel for q (B, g, m, d) and k (B, g, m', d), forward or backward."""
        return dense_kernel(q, k, self.head_dim, self.tf32, backward)

    @property
    def scores(self) -> float:
        """What scores are multiplied by."""
        return float(self.head_dim**-0.5)
