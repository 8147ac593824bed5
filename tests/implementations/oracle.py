"""Dilated attention by explicit masks: the oracle at small shapes, written from the definition and
nothing else.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import layer_norm, linear


def branch_mask(
    seq_len: int, segment_length: int, rate: int, offset: int, causal: bool
) -> torch.Tensor:
    """(n, n) bool: whether query and key are both selected by the branch, in the same segment, and
    in order.
    """
    position = torch.arange(seq_len)
    selected = (position % segment_length - offset >= 0) & (
        (position % segment_length - offset) % rate == 0
    )
    segment = position // segment_length
    mask = selected[:, None] & selected[None, :] & (segment[:, None] == segment[None, :])
    return mask & (position[None, :] <= position[:, None]) if causal else mask


def head_masks(params: Any) -> list[list[torch.Tensor]]:
    """For each head, the masks of the branches it takes."""
    pairs = list(zip(params.segment_lengths, params.dilation_rates, strict=True))
    n, heads, groups = params.seq_len, params.heads, len(pairs)
    if params.mixing == "lse":
        return [
            [branch_mask(n, s, r, h // -(-heads // r), params.causal) for s, r in pairs]
            for h in range(heads)
        ]
    owners = [
        group for group in range(groups) for _ in range(heads // groups + (group < heads % groups))
    ]
    return [[branch_mask(n, *pairs[g], g % pairs[g][1], params.causal)] for g in owners]


def attention(params: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """The whole output in the inputs' dtype, differentiable: one softmax per head over the multiset
    union of keys.
    """
    outputs = []
    for h, masks in enumerate(head_masks(params)):
        scores = torch.einsum("bnd,bmd->bnm", q[:, :, h], k[:, :, h]) * q.shape[-1] ** -0.5
        copies = torch.stack([mask.to(scores.dtype) for mask in masks]).sum(0)
        top = (
            scores.masked_fill(copies == 0, -torch.inf)
            .amax(-1, keepdim=True)
            .nan_to_num(neginf=0.0)
            .detach()
        )
        weights = copies * (scores - top).exp().where(copies > 0, torch.zeros(()).to(scores))
        total = weights.sum(-1, keepdim=True)
        outputs.append((weights / total.where(total > 0, torch.ones(()).to(scores))) @ v[:, :, h])
    merged = torch.stack(outputs, dim=2)
    return merged if params.mixing == "lse" else merged / len(params.segment_lengths)


def multihead(params: Any, x: torch.Tensor, state: dict[str, torch.Tensor]) -> torch.Tensor:
    """Projections, attention, LayerNorm and output projection."""
    batch, n, embed = x.shape
    q, k, v = (
        linear(x, state[f"{name}_proj.weight"], state[f"{name}_proj.bias"]).view(
            batch, n, params.heads, params.head_dim
        )
        for name in "qkv"
    )
    mixed = attention(params, q, k, v).reshape(batch, n, embed)
    normed = layer_norm(mixed, (embed,), state["norm.weight"], state["norm.bias"])
    return linear(normed, state["out_proj.weight"], state["out_proj.bias"])
