"""Decides which attempts run in processes that were made ready ahead (isolation/standby.py)."""

from __future__ import annotations

from types import ModuleType

from orchestrator.attempt_result import AttemptResult
from orchestrator.isolation.ranks import RankSpan
from orchestrator.isolation.standby import COUNT
from orchestrator.machine import nvml
from orchestrator.outcome import Flag, Outcome
from orchestrator.supervisor.device_health import WELL
from orchestrator.trial import Attempt
from orchestrator.util.quantities import GIB

ROOMY_GIB = 40.0  # of a card on which a few contexts are no great part
# Of these the card is as it was; a sweep may have many of them.
HARMLESS = WELL | {Outcome.MISMATCH, Outcome.IMPLAUSIBLE}
FEW_RUNS = 2  # fewer would wait for processes that are never used


def may_be_made_ready(
    attempt: Attempt, span: RankSpan | None, runs: int, api: ModuleType | None
) -> bool:
    """Whether the attempt's process may be one of several that were made ready ahead.

    Not the first ones: a sweep may have no more. Not where compilers are timed from cold, nor on a
    card that is too small for several contexts, or that admits one process only.

    Args:
        attempt: what is to be run.
        span: which of its ranks run here; None: all.
        runs: how many attempts were run before it.
        api: pynvml, initialised; None: there is no GPU.
    """
    resources = attempt.resources
    if api is None or runs < FEW_RUNS or attempt.compile_times:
        return False
    if span is not None or resources.ranks > 1 or resources.gpus > 1:
        return False
    gpu = nvml.handle(api)
    if gpu is None or not nvml.admits_several(api, gpu):
        return False
    needed_gib = ROOMY_GIB
    if resources.gpu_memory_gib is not None:
        needed_gib = resources.gpu_memory_gib + COUNT + 2
    return nvml.total_bytes(api, gpu) >= needed_gib * GIB


def lacked_memory(attempt: Attempt, result: AttemptResult) -> bool:
    """Whether the attempt would have had more memory of the card without those that stood by."""
    if attempt.resources.gpu_memory_gib is not None:
        return False  # its own cap is less than what was left
    retried = Flag.ALLOCATION_RETRIES.value
    return any(one.outcome is Outcome.OOM or retried in one.flags for one in result.records)
