"""Dilated attention as its definition reads: one scaled_dot_product_attention per branch, on
strided views.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn.functional import scaled_dot_product_attention

from orchestrator.workload import Config

from .dilated_attention.pattern import Pattern, Piece
from .kernels.merge import Plan, attention
from .kernels.precision import at_precision

Attention = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def build(config: Config) -> Attention:
    """Attention of q, k, v, (batch, seq_len, heads, head_dim) each, any strides; same shape and
    dtype out.

    Under head_groups: a view of each branch's positions and heads, one attention call on it, and
    its result added into zeros, divided by the number of branches. Under lse every branch's
    log-sum-exp is needed, which that call hides: there the branches are torch's kernels called by
    name, merged by `kernels.merge`.

    Raises:
        NotImplementedError: world_size > 1; this implementation works on one device.
    """
    if config.world_size > 1:
        raise NotImplementedError(
            f"standard works on one device; world_size is {config.world_size}"
        )
    pattern = Pattern.of(config)
    if config.mixing == "lse":
        plan = Plan(pattern, config.head_dim, config.causal, own=False)
        return at_precision(config, lambda q, k, v: attention(q, k, v, plan))

    def head_groups(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        out = torch.zeros(q.shape, dtype=q.dtype, device=q.device)
        for piece in pattern.pieces:
            branch = [_select(t, piece) for t in (q, k, v)]
            into = _select(out, piece)
            for entry in _entries(branch):
                rows, keys, values = (t[entry].flatten(0, 1).transpose(1, 2) for t in branch)
                attended = scaled_dot_product_attention(rows, keys, values, is_causal=config.causal)
                into[entry].add_(
                    attended.transpose(1, 2).view(into[entry].shape), alpha=pattern.scale
                )
        return out

    return at_precision(config, head_groups)


def _select(t: torch.Tensor, piece: Piece) -> torch.Tensor:
    """(b, n, H, d) -> (b, n / s, m, g, d): a view of the positions and heads that take part."""
    batch, n, heads, head_dim = t.shape
    segments = t.view(batch, n // piece.segment_length, piece.segment_length, heads, head_dim)
    return segments[:, :, piece.offset :: piece.rate, piece.first_head : piece.last_head]


def _entries(branch: list[torch.Tensor]) -> list[slice]:
    """All batch entries at once where they merge with the segments without a copy, else one by one."""
    batch, segments = branch[0].shape[:2]
    if batch == 1 or segments == 1 or all(t.stride(0) == segments * t.stride(1) for t in branch):
        return [slice(None)]
    return [slice(entry, entry + 1) for entry in range(batch)]
