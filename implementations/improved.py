"""Dilated attention as fast as the device allows: one plan for each shape.

Plans:
    views: one attention call per branch on strided views, by the kernel that suits device and dtype, each result
        multiplied by 1 / G straight into its place; a backward of its own, so that autograd differentiates no slice.

The plan is chosen when it is built, by `choose`.

On a CPU (float32, AVX2) torch's attention kernel runs at 80 % of the rate of that CPU's own matrix product (26 of
32 GFLOP/s per core), so that nothing made of such products can be 1.25 times faster; what remains to be saved beside
`standard` is passing over the output once instead of twice, and autograd over slices in the backward pass.
"""

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

    Raises:
        NotImplementedError: world_size > 1; this implementation works on one device.
    """
    if config.world_size > 1:
        raise NotImplementedError(f"improved works on one device; world_size is {config.world_size}")
    return at_precision(config, PLANS[choose(config)](config))


def choose(_config: Config) -> str:
    """The name of the plan for this trial."""
    return "views"


def _views(config: Config) -> Attention:
    plan = Plan(Pattern.of(config), config.head_dim, config.causal)
    return lambda q, k, v: attention(q, k, v, plan)


PLANS: dict[str, Callable[[Config], Attention]] = {"views": _views}
