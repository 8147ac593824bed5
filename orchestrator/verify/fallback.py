"""Where the reference is computed: on the device, else on the host, else for sampled rows there."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from orchestrator.measure.memory import release
from orchestrator.outcome import Outcome
from orchestrator.usercode.implementation import AttemptEndedError, in_brief
from orchestrator.usercode.oom import is_out_of_memory
from orchestrator.workload import Config, Problem

if TYPE_CHECKING:
    import torch

Result = TypeVar("Result")

MAX_REFERENCE_FLOPS = {"cpu": 4.5e9, "cuda": 2e12}  # some tenths of a second of float64


def with_fallback(
    compute: Callable[[bool, float], Result],
    device: torch.device,
    max_flops: float | None,
    share: float = 1.0,
) -> Result:
    """What `compute(on_host, max_flops)` gives in the first place that has the memory for it.

    Args:
        compute: computes the reference there, and answers for sampled rows beyond so many FLOPs.
        device: of the trial.
        max_flops: limit of the reference; None: by the device's kind.
        share: of that limit.

    Raises:
        AttemptEndedError: there is not enough memory anywhere; whatever else `compute` raises is
            passed on.
    """
    shortage = None
    for on_host, flops in _places(device.type, max_flops, share):
        try:
            return compute(on_host, flops)
        except Exception as error:
            if not is_shortage(error):
                raise
            shortage = as_shortage(error)
        release(device)
    raise shortage or AssertionError("there is always a place to try")


def _places(kind: str, max_flops: float | None, share: float) -> Iterator[tuple[bool, float]]:
    """Where to compute it and how much of it: (on the host, FLOPs), in the order to be tried."""
    most = max_flops or MAX_REFERENCE_FLOPS[kind]
    yield kind == "cpu", share * most
    host = share * min(most, MAX_REFERENCE_FLOPS["cpu"])
    if kind != "cpu":
        yield True, host
    yield True, host / 64


def is_shortage(error: Exception) -> bool:
    """Whether memory ran out, the implementation's or the harness's."""
    if isinstance(error, AttemptEndedError):
        return error.outcome is Outcome.OOM
    return is_out_of_memory(error)


def as_shortage(error: Exception) -> AttemptEndedError:
    """What to say if no other way is left; the tensors that its frames hold are freed for the next
    way to use.
    """
    for link in (error, error.__cause__, error.__context__):
        if link is not None:
            traceback.clear_frames(link.__traceback__)
    if isinstance(error, AttemptEndedError):
        return error
    return AttemptEndedError(
        Outcome.FAILED,
        "ReferenceOutOfMemory",
        f"the harness, not the implementation, ran out of memory: {in_brief(error)}; lower "
        "verify.max_reference_flops",
    )


def on_host(problem: Problem) -> Problem:
    """The same problem with everything in host memory."""
    if problem.config.device.type == "cpu":
        return problem
    held = ("device", "options")
    params = {name: value for name, value in problem.config.__dict__.items() if name not in held}
    return replace(
        problem,
        config=Config(params, "cpu", problem.config.options),
        inputs=tuple(tensor.cpu() for tensor in problem.inputs),
        state={name: tensor.cpu() for name, tensor in problem.state.items()},
        upstream=None if problem.upstream is None else problem.upstream.cpu(),
    )
