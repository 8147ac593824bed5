"""One implementation as a trial of the worker: judged is what a sweep's process would run."""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.outcome import Flag, Outcome
from orchestrator.spec.models import MeasureProtocol, VerifySpec
from orchestrator.trial import Attempt, Resources, Trial
from orchestrator.worker.run_attempt import run_attempt

BRIEF = MeasureProtocol(
    warmup_s=0.0, min_time_s=0.0, max_time_s=0.05, min_repetitions=5, target_ci=0.5
)


@dataclass(frozen=True)
class Verdict:
    """What the worker said of one implementation.

    Attributes:
        outcome: of the trial.
        reason: the first line of its error; "" where it is ok.
        unproven: whether it is ok and flagged so.
    """

    outcome: Outcome
    reason: str
    unproven: bool

    def kind(self, right: bool) -> str:
        """`as it should be`; `refused`, what is right; `missed`, what is wrong; `broken`, what is
        wrong and ended without having been judged.
        """
        if right:
            return "as it should be" if self.outcome is Outcome.OK else "refused"
        if self.outcome is Outcome.OK:
            return "missed"
        return "as it should be" if self.outcome is Outcome.MISMATCH else "broken"


def judged(
    file: Path,
    build: str,
    params: Mapping[str, Any],
    options: Mapping[str, Any],
    device: str,
    seed: int,
) -> Verdict:
    """The verdict on what `build` of a file makes, on the problem WORKLOAD of the same file."""
    on_gpu = device.startswith("cuda")
    attempt = Attempt(
        sweep_id="judging",
        trial=Trial.of(implementation=build, use=f"{file}:{build}", params=params, options=options),
        workload=f"{file}:WORKLOAD",
        base_dir=str(file.parent),
        device=device,
        seed=seed,
        protocol=BRIEF,
        verify=VerifySpec(),
        resources=Resources(gpus=1 if on_gpu else 0),
    )
    with redirect_stderr(io.StringIO()):  # tracebacks of what is meant to fail
        record = run_attempt(attempt).record
    reason = record.error.message.splitlines()[0] if record.error else ""
    return Verdict(record.outcome, reason, Flag.UNPROVEN.value in record.flags)
