"""The multihead form: projections, dilated attention, LayerNorm over the embedding, output
projection.

Both implementations have the same parameters, so that one's state_dict loads into the other:
q_proj, k_proj, v_proj, norm and out_proj, ordinary nn.Linear and nn.LayerNorm over E = heads *
head_dim features.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

import torch
from torch import nn
from torch.nn.functional import layer_norm, linear

from orchestrator.workload import Config

from .dilated_attention.pattern import Pattern
from .kernels.precision import at_precision
from .kernels.projected import ProjectedPlan, projected_attention

SPARSE_ELEMENTS = 2**23  # of x: from there on projecting less pays for more launches

Attention = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def build_standard(config: Config) -> nn.Module:
    """A module of x (batch, seq_len, E), same shape out, whose attention is the registered
    `standard`.

    Raises:
        NotImplementedError: as `standard` does.
    """
    return Multihead(config, _registered("standard", config))


def build_improved(config: Config) -> nn.Module:
    """A module of x (batch, seq_len, E), same shape out, that projects only what a branch reads.

    Under lse, where heads read the union of all branches, where CUDA's kernels would want q, k and
    v padded, and on CUDA where the work is so small that launches outweigh it, it projects
    everywhere in one product and its attention is the registered `improved`. Else each branch is
    one product and one attention call, by the kernel that
    `implementations.kernels.dense` says.

    Raises:
        NotImplementedError: as `improved` does.
    """
    attention = _registered("improved", config)
    cuda = config.device.type == "cuda"
    small = (
        cuda and config.batch * config.seq_len * config.heads * config.head_dim < SPARSE_ELEMENTS
    )
    padded = cuda and config.head_dim % 8
    if config.mixing == "lse" or padded or small:
        return FusedMultihead(config, attention)
    return SparseMultihead(config, attention)


class Multihead(nn.Module):
    """LongNet's attention layer (Ding et al. 2023, section 2.2), with sub-LayerNorm before the
    output projection.
    """

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
        output: torch.Tensor = self.out_proj(self._normed(self._mixed(x)))
        return output

    def _normed(self, mixed: torch.Tensor) -> torch.Tensor:
        if mixed.device.type != "cpu" or mixed.dtype == torch.float32:
            normed: torch.Tensor = self.norm(mixed)
            return normed
        # torch's kernel for the CPU sums the gradients of weight and bias in half precision: 2 %
        # off at 512 rows
        weight, bias = self.norm.weight.float(), self.norm.bias.float()
        return layer_norm(mixed.float(), mixed.shape[-1:], weight, bias, self.norm.eps).to(
            mixed.dtype
        )

    def _mixed(self, x: torch.Tensor) -> torch.Tensor:
        """The mixture of branches, (batch, seq_len, E)."""
        q, k, v = (
            proj(x).unflatten(-1, (self.heads, -1))
            for proj in (self.q_proj, self.k_proj, self.v_proj)
        )
        return self._attention(q, k, v).flatten(2)

    def _projections(self) -> tuple[torch.Tensor, ...]:
        """Weight and bias of q, k and v."""
        q, k, v = self.q_proj, self.k_proj, self.v_proj
        return q.weight, q.bias, k.weight, k.bias, v.weight, v.bias


class FusedMultihead(Multihead):
    """All projections in one product."""

    def _mixed(self, x: torch.Tensor) -> torch.Tensor:
        projections = self._projections()
        qkv = linear(x, torch.cat(projections[::2]), torch.cat(projections[1::2]))
        q, k, v = qkv.view(*x.shape[:2], 3, self.heads, -1).unbind(2)
        return self._attention(q, k, v).flatten(2)


class SparseMultihead(Multihead):
    """Projections where a branch reads them."""

    def __init__(self, config: Config, attention: Attention) -> None:
        super().__init__(config, attention)
        tf32 = config.matmul_precision == "tf32"
        self._plan = ProjectedPlan(Pattern.of(config), config.head_dim, config.causal, tf32)

    def _mixed(self, x: torch.Tensor) -> torch.Tensor:
        return projected_attention(x, self._projections(), self._plan)


def _registered(name: str, config: Config) -> Attention:
    """By name: siblings do not import each other."""
    from . import IMPLEMENTATIONS

    module, _, attribute = IMPLEMENTATIONS[name].target.partition(":")
    attention: Attention = getattr(import_module(module), attribute)(config)
    return attention
