"""The problem that the cheats pretend to solve: LayerNorm of rows, without weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from orchestrator.workload import Config, Problem, Work, Workload

if TYPE_CHECKING:
    import torch

EPS = 1e-5


class NormParams(BaseModel):
    """Shape and dtype of the input."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: int = 64
    width: int = 512
    dtype: str = "float32"


def _inputs(config: Config, _form: str, seed: int) -> tuple[torch.Tensor, ...]:
    import torch

    generator = torch.Generator(config.device).manual_seed(seed)
    shape = (config.rows, config.width)
    return (torch.randn(shape, generator=generator, dtype=config.dtype, device=config.device),)


def _reference(problem: Problem) -> torch.Tensor:
    x = problem.inputs[0].to(problem.dtype)
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + EPS).sqrt()


def _work(params: NormParams, _form: str) -> Work:
    elements = params.rows * params.width
    return Work(flops=8 * elements, bytes=8 * elements, tokens=params.rows)


WORKLOAD = Workload(
    name="cheated_norm", params=NormParams, inputs=_inputs, reference=_reference, work=_work
)
