"""One row under a profiler, in a process of its own.

torch's profiler runs in a process of the isolator, which calls `trace`. Nsight Compute starts its
own:

    ncu ... python -m orchestrator.cli.profiling.row < attempt.json
"""

from __future__ import annotations

import sys
from typing import Any

from orchestrator.cli.profiling.counters import RANGE
from orchestrator.record import KernelShare
from orchestrator.trial import Attempt
from orchestrator.usercode.implementation import AttemptEndedError
from orchestrator.util.frozen_model import FrozenModel
from orchestrator.worker.stages import Stages


class Traced(FrozenModel):
    """What a call of a row ran; or why it did not get that far, then without kernels."""

    kernels: tuple[KernelShare, ...] = ()
    error: str = ""


def trace(attempt_json: str) -> Traced:
    """Build, call and verify the row, then call it once more under torch's profiler."""
    stages = Stages(Attempt.model_validate_json(attempt_json), lambda _phase: None)
    try:
        stages.ready()
        stages.profile()
    except AttemptEndedError as ended:
        return Traced(error=f"{ended.outcome}: {ended.message}")
    return Traced(kernels=stages.kernels)


def main() -> int:
    """Make one call in the range that counters are read of; what is made once was made before."""
    import torch

    nvtx: Any = torch.cuda.nvtx

    stages = Stages(Attempt.model_validate_json(sys.stdin.read()), lambda _phase: None)
    try:
        stages.ready()
    except AttemptEndedError as ended:
        sys.stderr.write(f"{ended.outcome}: {ended.message}\n")
        return 1
    call = stages.one_more_call()
    call()
    torch.cuda.synchronize()
    nvtx.range_push(RANGE)
    call()
    torch.cuda.synchronize()
    nvtx.range_pop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
