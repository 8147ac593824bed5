"""A workload of one's own: LayerNorm over rows, two implementations that are right, and one that
nearly is.

orchestrator docs/examples/layernorm.yaml
"""

import torch
from pydantic import BaseModel, ConfigDict, Field

from orchestrator.workload import Work, Workload

EPSILON = 1e-5


class LayerNormParams(BaseModel):
    """One trial: rows of `width` values, each normalised, then scaled and shifted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: int = Field(ge=1)
    width: int = Field(ge=2)
    dtype: str = Field(default="float32", pattern="^(float32|float16|bfloat16)$")


def inputs(config, form, seed):
    """x (rows, width), scale (width,) and shift (width,): normal random, the same for the same
    seed.
    """
    generator = torch.Generator().manual_seed(seed)
    shapes = [(config.rows, config.width), (config.width,), (config.width,)]
    return tuple(
        torch.randn(shape, generator=generator).to(config.device, config.dtype) for shape in shapes
    )


def reference(problem):
    """The right answer, spelled out; problem.dtype is float64 for the truth."""
    x, scale, shift = (tensor.to(problem.dtype) for tensor in problem.inputs)
    centred = x - x.mean(dim=-1, keepdim=True)
    variance = (centred * centred).mean(dim=-1, keepdim=True)
    return centred / torch.sqrt(variance + EPSILON) * scale + shift


def work(params, form):
    """Useful work of a call: about 8 operations a value; x read once, the output written once. A
    token is a row.
    """
    size = {"float32": 4}.get(params.dtype, 2)
    values = params.rows * params.width
    return Work(flops=8 * values, bytes=(2 * values + 2 * params.width) * size, tokens=params.rows)


WORKLOAD = Workload(
    name="layernorm",
    params=LayerNormParams,
    inputs=inputs,
    reference=reference,
    work=work,
    input_names={"default": ("x", "scale", "shift")},
    columns={"rows": "Rows", "width": "Width"},
)


def library(config):
    """Torch's own kernel."""
    return lambda x, scale, shift: torch.nn.functional.layer_norm(
        x, (config.width,), scale, shift, EPSILON
    )


def by_hand(config):
    """One operation after the other, each writing its result to memory."""

    def layernorm(x, scale, shift):
        variance, mean = torch.var_mean(x, dim=-1, correction=0, keepdim=True)
        return (x - mean) * torch.rsqrt(variance + EPSILON) * scale + shift

    return layernorm


def bessel(config):
    """Nearly right: it divides by width - 1, as a sample's variance does and LayerNorm's does not."""

    def layernorm(x, scale, shift):
        variance, mean = torch.var_mean(x, dim=-1, correction=1, keepdim=True)
        return (x - mean) * torch.rsqrt(variance + EPSILON) * scale + shift

    return layernorm
