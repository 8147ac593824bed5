"""What a sweep costs its driver by the number of trials: the real driver, the real Ray, trials that
do nothing.

    python benchmarks/scale.py                       # 100, 1,000 and 10,000 trials
    python benchmarks/scale.py 100 1000 --slots 2 --mlflow

Supervisors answer at once with a record as large as a real one, so that what is measured is the
driver's own: the queue, Ray's calls, the journal, the reports, and with --mlflow the mirror. Each
size runs in a process of its own, and once more with --resume's way through a finished journal. CPU
seconds are of the driver and its threads, not of Ray's processes.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tabulate import tabulate

from orchestrator import api
from orchestrator.attempt_result import AttemptResult
from orchestrator.executors.base import Executor
from orchestrator.executors.ray import RayExecutor
from orchestrator.executors.ray_supervisor import RaySupervisor
from orchestrator.executors.session import RayOptions
from orchestrator.machine import environment
from orchestrator.outcome import Outcome, Phase
from orchestrator.plan.sweep import Sweep
from orchestrator.record import record_of, utc_now
from orchestrator.supervisor.supervisor import SupervisorReport
from orchestrator.trackers.in_memory import MemoryTracker
from orchestrator.trial import Attempt
from orchestrator.util.quantities import MIB

HERE = Path(__file__).resolve().parent
FIGURES = ("latency_ms", "latency_ci_low_ms", "latency_ci_high_ms", "noise_pct", "repetitions", "peak_memory_mib",
           "iterations_per_repetition", "workspace_mib", "first_call_ms", "throughput_tokens_per_s", "tflops_per_s",
           "gb_per_s", "ceiling_share", "relative_error", "error_budget")  # fmt: skip
VALUES = 40


class NothingDone(RaySupervisor):
    """A supervisor that forks nothing: every attempt is ok, with as many figures as a real one has."""

    def __init__(self, *arguments: Any) -> None:
        self.device, self._cpus = arguments[0], arguments[1]
        self._facts = environment.describe(self.device, None, self._cpus)

    def run(self, attempt_json: str, _span: object = None) -> SupervisorReport:
        """An ok record, at once."""
        attempt = Attempt.model_validate_json(attempt_json)
        latency = 1.0 + int(attempt.trial.trial_id[:4], 16) / 65536
        record = record_of(
            attempt,
            Outcome.OK,
            Phase.DONE,
            utc_now(),
            self._facts["match"],
            metrics=dict.fromkeys(FIGURES, latency),
            values_ms=(latency,) * VALUES,
            environment=self._facts,
        )
        result = AttemptResult(record=record)
        return SupervisorReport(result.model_dump_json(), b"", [], "")

    def conclude(self) -> list[str]:
        """Nothing was looked at."""
        return []

    def phase(self) -> str:
        """Nothing runs."""
        return ""


class NothingExecutor(RayExecutor):
    """A RayExecutor whose supervisors do nothing."""

    def _supervisor(self) -> type[RaySupervisor]:
        return NothingDone


def sweep_of(trials: int, slots: int) -> Sweep:
    """A sweep of so many trials: ten implementations, so that tables have columns to compare."""
    entries = ", ".join(
        f"{{use: '{HERE}/no_op.py:nothing', label: i{number}}}" for number in range(10)
    )
    text = (
        f"name: scale\nworkload: '{HERE}/no_op.py'\nimplementations: [{entries}]\n"
        f"axes: {{number: {list(range(trials // 10))}}}\nmax_concurrent: {slots}\n"
    )
    return Sweep.parse(text, HERE)


def one(trials: int, slots: int, folder: Path, mlflow: bool, resume: bool) -> dict[str, float]:
    """Run, or go on with, a sweep of so many trials in this process, and what it took."""

    def made(_sweep: Sweep) -> Executor:
        return NothingExecutor(RayOptions(device="cpu", cpus=1, max_concurrent=slots))

    begun = time.perf_counter()
    sweep = sweep_of(trials, slots)
    planned = time.perf_counter()
    before = resource.getrusage(resource.RUSAGE_SELF)
    api.run(
        sweep,
        output=folder / "out",
        device="cpu",
        resume=resume,
        executor=made,
        tracker=None if mlflow else MemoryTracker,
    )
    after = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "plan_s": planned - begun,
        "wall_s": time.perf_counter() - planned,
        "cpu_s": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "memory_mib": after.ru_maxrss / 1024,
        "journal_mib": sum(path.stat().st_size for path in (folder / "out").glob("results.jsonl"))
        / MIB,
    }


def measured(trials: int, slots: int, mlflow: bool) -> list[str | float]:
    """A row of the table."""
    with tempfile.TemporaryDirectory(prefix="scale-") as folder:
        found = []
        for resume in (False, True):
            command = [
                sys.executable,
                __file__,
                str(trials),
                "--slots",
                str(slots),
                "--child",
                folder,
            ]
            command += ["--mlflow"] * mlflow + ["--resume"] * resume
            done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
            if done.returncode:
                sys.exit(f"{trials} trials: {done.stderr[-2000:]}")
            found.append(json.loads(done.stdout.splitlines()[-1]))
    first, again = found
    return [
        f"{trials:,}",
        f"{first['plan_s']:.2f}",
        f"{first['wall_s']:.1f}",
        f"{1000 * first['cpu_s'] / trials:.2f}",
        f"{first['memory_mib']:.0f}",
        f"{first['journal_mib']:.1f}",
        f"{again['wall_s']:.1f}",
        f"{again['cpu_s']:.1f}",
    ]


def main() -> None:
    """The growth table."""
    parser = argparse.ArgumentParser(description="driver cost by number of trials")
    parser.add_argument("trials", nargs="*", type=int, default=[100, 1000, 10000])
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--mlflow", action="store_true", help="mirror to MLflow, too")
    parser.add_argument("--resume", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        print(
            json.dumps(
                one(asked.trials[0], asked.slots, Path(asked.child), asked.mlflow, asked.resume)
            )
        )
        return
    head = ["trials", "plan s", "wall s", "driver CPU ms per trial", "driver memory MiB", "journal MiB", "resume s",
            "resume CPU s"]  # fmt: skip
    print(
        f"{os.cpu_count()} cores, {asked.slots} slots, {'with' if asked.mlflow else 'without'} MLflow"
    )
    print(
        tabulate(
            [measured(trials, asked.slots, asked.mlflow) for trials in asked.trials],
            head,
            disable_numparse=True,
        )
    )


if __name__ == "__main__":
    main()
