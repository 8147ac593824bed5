"""Sums of rows, so many rows at a time, by so many threads: what is best is found by trying;
docs/search.md does.
"""

import torch
from pydantic import BaseModel, ConfigDict

from orchestrator.workload import Work, Workload


class Params(BaseModel):
    """One trial: so many rows of `width` values."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    rows: int
    width: int = 256
    dtype: str = "float32"


def inputs(config, form, seed):
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(config.rows, config.width, generator=generator).to(config.device, config.dtype),
    )


def reference(problem):
    return problem.inputs[0].to(problem.dtype).sum(-1, keepdim=True)


def work(params, form):
    return Work(flops=params.rows * params.width, bytes=4 * params.rows * (params.width + 1))


WORKLOAD = Workload(
    name="chunked_sum",
    params=Params,
    inputs=inputs,
    reference=reference,
    work=work,
    columns={"rows": "Rows"},
)


def build(config):
    chunk = config.options.get("chunk", 1)
    torch.set_num_threads(config.options.get("threads", 1))

    def chunked_sum(x):
        return torch.cat([part.sum(-1, keepdim=True) for part in x.split(chunk)])

    return chunked_sum
