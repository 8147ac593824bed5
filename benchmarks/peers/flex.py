"""Peer: torch's flex_attention with the dilated pattern as a block mask, compiled on CUDA.

The same function: a mask says for each head which positions of which segments attend to one
another. Blocks that a mask leaves empty are skipped; a rate leaves none empty, so dilation saves it
nothing.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.attention.flex_attention import create_block_mask, flex_attention


def build(config: Any) -> Any:
    """flex_attention of q, k, v (batch, seq_len, heads, head_dim)."""
    if config.mixing != "head_groups":
        raise NotImplementedError(
            "a mask cannot count a key twice, as merging branches by lse does"
        )
    groups, n = len(config.segment_lengths), config.seq_len
    sizes = [config.heads // groups + (group < config.heads % groups) for group in range(groups)]
    owner = torch.arange(groups, device=config.device).repeat_interleave(
        torch.tensor(sizes, device=config.device)
    )
    lengths, rates = (
        torch.tensor(values, device=config.device)[owner]
        for values in (config.segment_lengths, config.dilation_rates)
    )
    offsets = owner % rates

    def takes_part(h: Any, position: Any) -> Any:
        inside = position % lengths[h] - offsets[h]
        return (inside >= 0) & (inside % rates[h] == 0)

    def mask(_b: Any, h: Any, row: Any, key: Any) -> Any:
        together = (
            takes_part(h, row) & takes_part(h, key) & (row // lengths[h] == key // lengths[h])
        )
        return together & (key <= row) if config.causal else together

    blocks = create_block_mask(mask, None, config.heads, n, n, device=config.device.type)
    attend = torch.compile(flex_attention) if config.device.type == "cuda" else flex_attention

    def attention(q: Any, k: Any, v: Any) -> Any:
        out = attend(*(t.transpose(1, 2) for t in (q, k, v)), block_mask=blocks)
        return out.transpose(1, 2) / groups

    return attention
