"""One row under a profiler, in a process of its own: what `orchestrator profile` starts.

    python -m orchestrator.cli.profiling.row trace < attempt.json      # torch's profiler
    ncu ... python -m orchestrator.cli.profiling.row call < attempt.json

The last line of stdout is JSON: {"kernels": [...]}, or {"error": "..."}.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from orchestrator.trial import Attempt
from orchestrator.usercode.implementation import AttemptEndedError
from orchestrator.worker.stages import Stages

RANGE = "profiled"  # the NVTX range around the call that counters are read of


def main(way: str) -> int:
    """Build, call and verify the row, then call it once more under the profiler."""
    attempt = Attempt.model_validate_json(sys.stdin.read())
    stages = Stages(attempt, lambda _phase: None)
    try:
        stages.ready()
        answer = _traced(stages) if way == "trace" else _called(stages)
    except AttemptEndedError as ended:
        answer = {"error": f"{ended.outcome}: {ended.message}"}
    print(f"\n{json.dumps(answer)}", flush=True)
    return 0


def _traced(stages: Stages) -> dict[str, Any]:
    stages.profile()
    return {"kernels": [one.model_dump() for one in stages.kernels]}


def _called(stages: Stages) -> dict[str, Any]:
    """One call in the range; what is made once was made before."""
    import torch

    nvtx: Any = torch.cuda.nvtx

    call = stages.one_more_call()
    call()
    torch.cuda.synchronize()
    nvtx.range_push(RANGE)
    call()
    torch.cuda.synchronize()
    nvtx.range_pop()
    return {}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
