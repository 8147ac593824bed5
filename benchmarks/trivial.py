"""The least that a trial can be: a vector doubled. What a sweep of it costs is what the
orchestrator costs.
"""

from __future__ import annotations

import torch
from pydantic import BaseModel, ConfigDict

from orchestrator.workload import Config, Problem, Work, Workload


class Params(BaseModel):
    """`number` tells one trial from another and changes nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int


def inputs(config: Config, _form: str, seed: int) -> tuple[torch.Tensor, ...]:
    """x: (8,) float32, standard normal."""
    generator = torch.Generator(config.device).manual_seed(seed)
    return (torch.randn(8, generator=generator, device=config.device),)


def reference(problem: Problem) -> torch.Tensor:
    """2 x, in the precision asked for."""
    return 2 * problem.inputs[0].to(problem.dtype)


def work(_params: Params, _form: str) -> Work:
    """A multiplication, a read and a write per element."""
    return Work(flops=8, bytes=64)


def build(_config: Config) -> object:
    """Doubles x."""
    return lambda x: 2 * x


workload = Workload(name="trivial", params=Params, inputs=inputs, reference=reference, work=work)
