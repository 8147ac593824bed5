"""Probes a GPU's memory and arithmetic, as an attempt in a process of its own."""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.outcome import Outcome, Phase
from orchestrator.record import ErrorInfo, TrialRecord, record_of, utc_now
from orchestrator.trial import Attempt

SIZE = 512
PATTERN_BYTES = 2**26


def run_attempt(
    attempt: Attempt, on_phase: Callable[[Phase], None] = lambda _phase: None
) -> TrialRecord:
    """Probe each GPU of the attempt: `ok`, or `mismatch` and what is wrong. CUDA's errors raise."""
    started_at = utc_now()
    on_phase(Phase.VERIFY)
    wrong = []
    for name in _devices(attempt):
        fault = fault_of(name)
        if fault is not None:
            wrong.append(f"{name}: {fault}")
    if not wrong:
        return record_of(attempt, Outcome.OK, Phase.DONE, started_at, {})
    error = ErrorInfo.of("WrongAnswer", "; ".join(wrong))
    return record_of(attempt, Outcome.MISMATCH, Phase.DONE, started_at, {}, error=error)


def fault_of(device: str) -> str | None:
    """What a device computes or stores wrongly; None: nothing.

    A product of small integers is exact in float32, in any order of the sums and with or without
    tf32. A pattern written to memory must be read back unchanged.
    """
    import torch

    generator = torch.Generator().manual_seed(0)
    left = torch.randint(-8, 9, (SIZE, SIZE), generator=generator).float()
    right = torch.randint(-8, 9, (SIZE, SIZE), generator=generator).float()
    if not torch.equal((left.to(device) @ right.to(device)).cpu(), left @ right):
        return "a product of integers is wrong"
    pattern = torch.arange(PATTERN_BYTES // 8)
    if not torch.equal(pattern.to(device).clone().cpu(), pattern):
        return "memory does not hold what is written to it"
    return None


def _devices(attempt: Attempt) -> list[str]:
    """The names that torch has for the attempt's devices."""
    kind, _, first = attempt.device.partition(":")
    return [
        f"{kind}:{int(first or 0) + offset}" for offset in range(max(1, attempt.resources.gpus))
    ]
