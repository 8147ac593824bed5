"""What benchmarks/stability.py measures: a product of matrices by one kernel, by several, and by
one made slower.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict

from orchestrator.attempt_result import AttemptResult
from orchestrator.outcome import Outcome, Phase
from orchestrator.record import TrialRecord
from orchestrator.trial import Attempt
from orchestrator.usercode import registry
from orchestrator.worker.run_attempt import run_attempt
from orchestrator.workload import Config, Problem, Work, Workload

Product = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
SEED_WARM_UP, SEED_CALLS = 3, 10
PARTS = 5


class Params(BaseModel):
    """(batch, n, n) @ (batch, n, n)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    n: int
    batch: int = 1
    dtype: str = "float32"


def inputs(config: Config, _form: str, seed: int) -> tuple[torch.Tensor, ...]:
    """a, b: (batch, n, n), standard normal."""
    generator = torch.Generator(config.device).manual_seed(seed)
    shape = (config.batch, config.n, config.n)
    return tuple(
        torch.randn(shape, generator=generator, device=config.device, dtype=config.dtype)
        for _ in range(2)
    )


def reference(problem: Problem) -> torch.Tensor:
    """The product in the precision asked for."""
    a, b = problem.inputs
    return a.to(problem.dtype) @ b.to(problem.dtype)


def work(params: Params, _form: str) -> Work:
    """Multiplications and additions; both factors read and the product written once."""
    size = 2 if params.dtype in ("float16", "bfloat16") else 4
    return Work(flops=2 * params.batch * params.n**3, bytes=3 * size * params.batch * params.n**2)


workload = Workload(name="product", params=Params, inputs=inputs, reference=reference, work=work)


def single(_config: Config) -> Product:
    """One kernel."""
    return torch.bmm


def launches(config: Config) -> Product:
    """Nine kernels: eight blocks of columns, and their concatenation."""
    columns = config.n // 8

    def product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.cat([torch.bmm(a, block) for block in b.split(columns, 2)], 2)

    return product


def slower(config: Config) -> Product:
    """By options.share slower than with share 0: a spin on a GPU; on a CPU more parts than the five
    of the work.
    """
    share = float(config.options["share"])
    if config.device.type == "cuda":
        return _with_spin(config, share) if share else torch.bmm
    again = round(share * PARTS)

    def product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        lefts, rights = a.chunk(PARTS), b.chunk(PARTS)
        found = [torch.bmm(left, right) for left, right in zip(lefts, rights, strict=True)]
        for left, right in zip(lefts[:again], rights[:again], strict=True):
            torch.bmm(left, right)
        return torch.cat(found)

    return product


def _with_spin(config: Config, share: float) -> Product:
    a, b = inputs(config, "", 0)
    for _ in range(20):
        torch.bmm(a, b)
    seconds = _device_seconds(lambda: torch.bmm(a, b), 50)
    cycles = int(
        share * seconds * 10_000_000 / _device_seconds(lambda: torch.cuda._sleep(10_000_000), 3)
    )

    def product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        torch.cuda._sleep(cycles)
        return torch.bmm(a, b)

    return product


def _device_seconds(call: Callable[[], object], count: int) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    call()
    start.record()
    for _ in range(count):
        call()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) / 1000 / count


def seed_then_ours(attempt: Attempt, on_phase: Callable[[Phase], None]) -> AttemptResult:
    """The attempt's result, with what the seed's protocol says of the same code in the same
    process, measured first.
    """
    mean_ms = _by_the_seed(attempt)
    result = run_attempt(attempt, on_phase)
    if result.record.outcome is not Outcome.OK:
        return result

    def with_mean(record: TrialRecord) -> TrialRecord:
        metrics = {**(record.metrics or {}), "seed_mean_ms": mean_ms}
        return record.model_copy(update={"metrics": metrics})

    return result.changed(with_mean)


def _by_the_seed(attempt: Attempt) -> float:
    """Milliseconds: three warm-ups, then the mean of ten calls by the wall clock."""
    build, _ = registry.build_function(attempt.trial.use, attempt.base_dir)
    config = Config(dict(attempt.trial.params), attempt.device, attempt.trial.options)
    function: Any = build(config)
    tensors = inputs(config, "", attempt.seed)
    wait = torch.cuda.synchronize if config.device.type == "cuda" else lambda: None
    for _ in range(SEED_WARM_UP):
        function(*tensors)
    wait()
    start = time.perf_counter()
    for _ in range(SEED_CALLS):
        function(*tensors)
    wait()
    return 1000 * (time.perf_counter() - start) / SEED_CALLS
