"""The corpus as a workload, so that a trial's worker can run each of its implementations."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict

from benchmarks.judging_corpus import attention, elementwise, images, integers, norms, products
from benchmarks.judging_corpus.case import Case, Tensors
from orchestrator.workload import Config, Problem, Work, Workload

PARTS = (elementwise, norms, products, attention, integers, images)
CASES: tuple[Case, ...] = tuple(chain.from_iterable(part.CASES for part in PARTS))
BY_NAME = {case.name: case for case in CASES}


class CorpusParams(BaseModel):
    """Which case, and what it is computed in."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    case: str
    precision: str


def cast(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """A tensor in the dtype of a trial; integers and floats of eight bits stay what they are."""
    if tensor.is_complex():
        return tensor.to(torch.complex128 if dtype is torch.float64 else torch.complex64)
    return tensor.to(dtype) if tensor.is_floating_point() and tensor.dtype.itemsize > 1 else tensor


def dtype_of(precision: str) -> torch.dtype:
    """The dtype of inputs; tf32 is float32, emulated."""
    found: torch.dtype = torch.float32 if precision == "tf32" else getattr(torch, precision)
    return found


def build(config: Config) -> Callable[..., Any]:
    """The implementation that the options name: its group, right or wrong, and its name there."""
    case = BY_NAME[config.case]
    group = case.right if config.options["group"] == "right" else case.wrong
    found: Callable[..., Any] = group[config.options["name"]]
    return found


def _inputs(config: Config, _form: str, seed: int) -> Tensors:
    generator = torch.Generator().manual_seed(seed % 2**63)
    drawn = BY_NAME[config.case].inputs(generator)
    return tuple(cast(one, dtype_of(config.precision)).to(config.device) for one in drawn)


def _reference(problem: Problem) -> Any:
    wide = [cast(one, problem.dtype) for one in problem.inputs]
    return BY_NAME[problem.config.case].reference(*wide)


def _work(_params: CorpusParams, _form: str) -> Work:
    return Work(flops=1.0, bytes=1.0, tokens=1)


def _precision(params: CorpusParams) -> str:
    return params.precision


WORKLOAD = Workload(
    name="judging_corpus",
    params=CorpusParams,
    inputs=_inputs,
    reference=_reference,
    work=_work,
    precision=_precision,
)
