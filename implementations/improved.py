"""Dilated attention as fast as the device allows: one plan for each shape.

Plans:
    fused: one Triton launch over all branches, the zeros of positions outside a branch and the
        factor 1 / G included, so that each byte of the output is written once; the backward pass in
        two launches. Under lse a second launch merges the branches, and a third adds up gradients.
    views: one attention call per branch on strided views, by the kernel that suits device, dtype
        and shape (cuDNN, flash, memory-efficient, torch's own on a CPU), on a GPU side by side;
        each result is multiplied by 1 / G straight into its place, together with the zeros around
        it.

Both have a backward pass of their own, so that autograd differentiates no slice, and are torch
operators under torch.compile. The plan is chosen when it is built, by the rule and the measurements
in `implementations.choice`, which
`python -m orchestrator list --explain` shows.

On a CPU (float32, AVX2) torch's attention kernel runs at 80 % of the rate of that CPU's own matrix
product (26 of 32 GFLOP/s per core), so that nothing made of such products can be 1.25 times faster;
what remains to be saved beside
`standard` is passing over the output once instead of twice, and autograd over slices in the backward pass.
"""

from __future__ import annotations

from orchestrator.workload import Config

from .kernels.op import Attention, attention_of
from .kernels.planned import planned
from .kernels.spec import Spec


def build(config: Config) -> Attention:
    """Attention of q, k, v, (batch, seq_len, heads, head_dim) each, any strides; same shape and
    dtype out.

    Options (config.options): plan, fused or views instead of the choice; block_m, block_n,
        num_warps, num_stages of the
    fused forward kernel.

    Raises:
        NotImplementedError: world_size > 1 (this implementation works on one device), or an option
            asks for the fused plan where it does not work.
        ValueError: an unknown option, or one with an impossible value.
    """
    if config.world_size > 1:
        raise NotImplementedError(
            f"improved works on one device; world_size is {config.world_size}"
        )
    return attention_of(spec_of(config))


def spec_of(config: Config) -> Spec:
    """The problem and the plan for it, with the config's options applied."""
    return planned(config, "improved")
