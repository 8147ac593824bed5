"""A probe of a GPU, run as an attempt in a process of its own: are its memory and its arithmetic right?"""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.outcome import Outcome, Phase
from orchestrator.record import ErrorInfo, TrialRecord, record_of, utc_now
from orchestrator.trial import Attempt

SIZE = 512
PATTERN_BYTES = 2**26


def run_attempt(attempt: Attempt, on_phase: Callable[[Phase], None] = lambda _phase: None) -> TrialRecord:
    """Probe every GPU that the attempt has; `ok`, or `mismatch` with what was wrong. CUDA's own errors are raised."""
    started_at = utc_now()
    on_phase(Phase.VERIFY)
    wrong = [f"{name}: {fault}" for name in _devices(attempt) if (fault := fault_of(name)) is not None]
    error = ErrorInfo.of("WrongAnswer", "; ".join(wrong)) if wrong else None
    return record_of(attempt, Outcome.MISMATCH if wrong else Outcome.OK, Phase.DONE, started_at, {}, error=error)


def fault_of(device: str) -> str | None:
    """What a device gets wrong of what is known to the last bit; None: nothing.

    A product of small integers is exact in float32 whatever the order of the sums and whether or not tf32 is used, and
    a pattern written to memory is to be read again.
    """
    import torch

    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randint(-8, 9, (SIZE, SIZE), generator=generator).float() for _ in range(2))
    if not torch.equal((left.to(device) @ right.to(device)).cpu(), left @ right):
        return "a product of integers is wrong"
    pattern = torch.arange(PATTERN_BYTES // 8)
    if not torch.equal(pattern.to(device).clone().cpu(), pattern):
        return "memory does not hold what is written to it"
    return None


def _devices(attempt: Attempt) -> list[str]:
    kind, _, first = attempt.device.partition(":")
    return [f"{kind}:{int(first or 0) + offset}" for offset in range(max(1, attempt.resources.gpus))]
