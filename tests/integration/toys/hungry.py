"""Holds as much host memory as its rows say: where it no longer fits, a frontier is to find."""

from pydantic import BaseModel, ConfigDict

from orchestrator.workload import Work, Workload

ROW_BYTES = 2**20


class Params(BaseModel):
    """One trial: so many MiB, and how many times over."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    mib: int
    times: int = 1
    dtype: str = "float32"


def inputs(config, _form, seed):
    import torch

    return (torch.randn(64, generator=torch.Generator().manual_seed(seed)),)


WORKLOAD = Workload(
    name="hungry",
    params=Params,
    inputs=inputs,
    reference=lambda problem: problem.inputs[0].to(problem.dtype),
    work=lambda params, form: Work(flops=64, bytes=params.mib * params.times * ROW_BYTES),
    columns={"mib": "MiB", "times": "Times"},
)


def build(config):
    import torch

    # Once: to make the pages of a GiB anew takes every call a second.
    held = torch.ones(config.mib * config.times * ROW_BYTES // 4)
    return lambda x: x * held[0]
