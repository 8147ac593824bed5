"""Builds an attempt and calls it once, in a process that does nothing else:

    python -m orchestrator.worker.compiling.first_call < attempt.json

The last line of stdout is JSON: {"ms": from build to the end of the call, "stages": of compilers}.
"""

from __future__ import annotations

import json
import sys

from orchestrator.trial import Attempt
from orchestrator.usercode.implementation import AttemptEndedError
from orchestrator.worker.compiling.times import stage_times
from orchestrator.worker.stages import Stages


def main() -> int:
    """0, or 1 where the attempt did not get that far: stderr says why."""
    attempt = Attempt.model_validate_json(sys.stdin.read())
    stages = Stages(attempt, lambda _phase: None)
    try:
        stages.called()
    except AttemptEndedError as ended:
        sys.stderr.write(f"{ended.message}\n")
        return 1
    answer = {"ms": stages.started_ms, "stages": stage_times()}
    sys.stdout.write(f"\n{json.dumps(answer)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
