"""Attention as a user would write it, one segment at rate 1, and ways to get it wrong."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn.functional import scaled_dot_product_attention

from orchestrator.workload import Config

Attention = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def honest(config: Config) -> Attention:
    def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        heads_first = (tensor.transpose(1, 2) for tensor in (q, k, v))
        return scaled_dot_product_attention(*heads_first, is_causal=config.causal).transpose(1, 2)

    return attention


def sees_the_future(config: Config) -> Attention:
    def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return scaled_dot_product_attention(*(tensor.transpose(1, 2) for tensor in (q, k, v))).transpose(1, 2)

    return attention


def forgets_the_transpose(config: Config) -> Attention:
    return lambda q, k, v: scaled_dot_product_attention(q, k, v)


def leaves_out_the_last_head(config: Config) -> Attention:
    right = honest(config)

    def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        out = torch.empty_like(q)
        out[:, :, :-1] = right(q, k, v)[:, :, :-1]
        return out

    return attention


def averages_the_values(config: Config) -> Attention:
    """What passes where inputs are so small that every softmax is flat."""
    return lambda q, k, v: v.mean(1, keepdim=True).expand_as(q).contiguous()


def gradient_cut_off_at_the_keys(config: Config) -> Attention:
    right = honest(config)
    return lambda q, k, v: right(q, k.detach() + 0 * k, v)
