"""Dilated attention with the sequence in blocks, as a ring of devices holds it; on one device, block by block."""

from __future__ import annotations

from collections.abc import Callable

import torch

from implementations.dilated_attention.pattern import Pattern
from implementations.kernels.merge import Plan, attention
from implementations.kernels.precision import at_precision
from orchestrator.workload import Config

Attention = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def build(config: Config) -> Attention:
    """Attention of q, k, v, (batch, seq_len, heads, head_dim) each, any strides; same shape and dtype out.

    The sequence is cut into ring_size blocks of ceil(seq_len / ring_size) positions, the last one shorter. A block of
    rows meets each block of keys that its segments reach, and an online softmax in float32 merges the parts. Beyond
    inputs and output it holds one block of rows in float32, one call's result and the log-sum-exps, never a score.

    Raises:
        NotImplementedError: world_size > 1.
    """
    if config.world_size > 1:
        raise NotImplementedError(f"ring_v2 works on one device so far; world_size is {config.world_size}")
    block = -(-config.seq_len // config.ring_size)
    plan = Plan(Pattern.of(config), config.head_dim, config.causal, block)
    return at_precision(config, lambda q, k, v: attention(q, k, v, plan))
