"""The multihead form: projections, dilated attention, LayerNorm over the embedding, output projection.

Both implementations have the same parameters, so that one's state_dict loads into the other: q_proj, k_proj, v_proj,
norm and out_proj, ordinary nn.Linear and nn.LayerNorm over E = heads * head_dim features.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

import torch
from torch import nn

from implementations.kernels.precision import at_precision
from orchestrator.workload import Config

Attention = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def build_standard(config: Config) -> nn.Module:
    """A module of x (batch, seq_len, E), same shape out, whose attention is the registered `standard`.

    Raises:
        NotImplementedError: as `standard` does.
    """
    return Multihead(config, _registered("standard", config))


def build_improved(config: Config) -> nn.Module:
    """A module of x (batch, seq_len, E), same shape out, whose attention is the registered `improved`.

    Raises:
        NotImplementedError: as `improved` does.
    """
    return Multihead(config, _registered("improved", config))


class Multihead(nn.Module):
    """LongNet's attention layer (Ding et al. 2023, section 2.2), with sub-LayerNorm before the output projection."""

    def __init__(self, config: Config, attention: Attention) -> None:
        super().__init__()
        embed = config.heads * config.head_dim
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (
            nn.Linear(embed, embed, device=config.device, dtype=config.dtype) for _ in range(4)
        )
        self.norm = nn.LayerNorm(embed, device=config.device, dtype=config.dtype)
        self.heads = config.heads
        self._layer = at_precision(config, self._compute)
        self._attention = attention

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, seq_len, E) -> (batch, seq_len, E)."""
        return self._layer(x)

    def _compute(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (proj(x).unflatten(-1, (self.heads, -1)) for proj in (self.q_proj, self.k_proj, self.v_proj))
        mixed = self._attention(q, k, v).flatten(2)
        output: torch.Tensor = self.out_proj(self.norm(mixed))
        return output


def _registered(name: str, config: Config) -> Attention:
    """By name: siblings do not import each other."""
    from implementations import IMPLEMENTATIONS

    module, _, attribute = IMPLEMENTATIONS[name].target.partition(":")
    attention: Attention = getattr(import_module(module), attribute)(config)
    return attention
