"""Inputs and parameters of one trial, drawn from its seed."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from orchestrator.workload import Config

_STATE_STREAM = 1  # added to the seed: parameters are not the first numbers of the inputs


def inputs(config: Config, form: str, seed: int) -> tuple[torch.Tensor, ...]:
    """Normal random tensors of unit variance at the trial's dtype and device.

    Returns:
        (q, k, v), (batch, seq_len, heads, head_dim) each, or for multihead (x,), (batch, seq_len,
        heads * head_dim).
    """
    generator = torch.Generator(config.device).manual_seed(seed)
    if form == "multihead":
        return (
            _normal(
                config, generator, config.batch, config.seq_len, config.heads * config.head_dim
            ),
        )
    shape = (config.batch, config.seq_len, config.heads, config.head_dim)
    return tuple(_normal(config, generator, *shape) for _ in range(3))


def state(config: Config, form: str, seed: int) -> Mapping[str, torch.Tensor]:
    """Parameters for load_state_dict of a multihead implementation; empty for qkv.

    Weights have variance 1 / E, so that q, k and v have unit variance where x has; biases and the
    norm's parameters are off their customary 0 and 1, so that leaving one out shows.
    """
    if form != "multihead":
        return {}
    embed = config.heads * config.head_dim
    generator = torch.Generator(config.device).manual_seed(seed + _STATE_STREAM)
    drawn: dict[str, torch.Tensor] = {}
    for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
        drawn[f"{name}.weight"] = _normal(config, generator, embed, embed) * embed**-0.5
        drawn[f"{name}.bias"] = _normal(config, generator, embed) * 0.1
    drawn["norm.weight"] = 1 + _normal(config, generator, embed) * 0.1
    drawn["norm.bias"] = _normal(config, generator, embed) * 0.1
    return drawn


def _normal(config: Config, generator: torch.Generator, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=generator, dtype=config.dtype, device=config.device)
