"""Drivers that kill themselves at a chosen moment; run as a program: a warm process that forks one
per order.

An order is a line of JSON: {"folder", "point", "count"}: run (or go on with) the sweep in the
folder, and end by SIGKILL the `count`th time that `point` is reached; no point: to the end. The
answer is its exit status, the first line says that all is warm. Journal, logs, reports and MLflow
store are the real ones; trials run in real processes, by a worker without torch.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy.engine.default import DefaultDialect

from orchestrator import api, report
from orchestrator.driver import runner
from orchestrator.executors.inline import InlineExecutor
from orchestrator.plan.sweep import Sweep
from orchestrator.record import fingerprint
from orchestrator.results import journal, sweep_directory
from orchestrator.trackers import mlflow, mlflow_store
from orchestrator.trial import Attempt
from orchestrator.usercode import registry
from tests.faults.trials import light_isolator

HERE = Path(__file__).parent
TOYS = HERE.parent / "integration" / "toys"
IMPLEMENTATION = """
def build(config):
    def call(*inputs):
        with open(config.options["ledger"], "a") as ledger:
            ledger.write(f"{config.n}\\n")
        if config.n == 3:
            raise ValueError("three is too many")
        return 1.0
    return call
"""
TRIALS = [1, 2, 3, 4]
# Every step of a trial's life and of the sweep's around it, in their order.
STORE_HALF_MADE = "store half made"
POINTS = [
    ("planned", 1),
    (STORE_HALF_MADE, 25),
    ("tracking started", 1),
    ("phase build", 2),
    ("phase first_call", 2),
    ("phase measure", 2),
    ("answered", 2),
    ("log saved", 2),
    ("half a line", 2),
    ("journaled", 2),
    ("journaled", 3),  # the one that fails
    ("run created", 3),  # the sweep's own is the first
    ("run filled", 2),
    ("run ended", 2),
    ("concluded", 1),
    ("report written", 1),
    ("report written", 3),
    ("sweep's run ended", 1),
    ("file handed over", 1),
    ("everything written", 1),
]


def prepare(folder: Path) -> None:
    """A sweep of TRIALS in the folder, and a ledger of what really ran."""
    (folder / "mine.py").write_text(IMPLEMENTATION)
    (folder / "sweep.yaml").write_text(
        f"name: doomed\nworkload: {TOYS}/matmul.py:WORKLOAD\n"
        f"implementations: [{{use: ./mine.py:build, label: mine, options: {{ledger: '{folder}/ledger'}}}}]\n"
        f"axes: {{n: {TRIALS}}}\nresources: {{timeout_s: 120}}\nmax_concurrent: 1\n"
    )


class Doom:
    """Ends this process by SIGKILL the `count`th time that `point` is reached."""

    def __init__(self, point: str, count: int) -> None:
        self.point = point
        self._left = count

    def reached(self, point: str) -> None:
        """Live on, unless this is it."""
        if point == self.point:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def after(self, owner: Any, name: str, point: str) -> None:
        """Have a function reach `point` when it is done."""
        function = getattr(owner, name)

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            answer = function(*args, **kwargs)
            self.reached(point)
            return answer

        setattr(owner, name, wrapped)


def attach(doom: Doom) -> None:
    """Put the points of the driver's own life where they belong."""
    doom.after(sweep_directory, "create", "planned")
    doom.after(sweep_directory, "save_log", "log saved")
    doom.after(journal.Journal, "append", "journaled")
    doom.after(mlflow.MlflowTracker, "start", "tracking started")
    doom.after(mlflow.MlflowTracker, "_create", "run created")
    doom.after(mlflow_store.MlflowClient, "log_batch", "run filled")
    doom.after(mlflow.MlflowTracker, "_made", "run ended")
    doom.after(
        mlflow.MlflowTracker,
        "_write",
        "sweep's run ended" if doom.point == "sweep's run ended" else "written",
    )
    doom.after(mlflow_store.MlflowClient, "log_artifact", "file handed over")
    doom.after(InlineExecutor, "conclude", "concluded")
    doom.after(report, "write_atomically", "report written")
    doom.after(runner.SweepRun, "run", "everything written")
    doom.after(DefaultDialect, "do_execute", STORE_HALF_MADE)
    _tear(doom)


def _tear(doom: Doom) -> None:
    write = os.write

    def torn(fd: int, data: Any) -> int:
        if doom.point == "half a line" and bytes(data[:19]) == b'{"schema_version":1':
            if doom._left == 1:
                write(fd, data[: len(data) // 2])
            doom.reached("half a line")
        return write(fd, data)

    os.write = torn


def drive(folder: Path, point: str, count: int) -> None:
    """Run the sweep, or go on with it."""
    os.chdir(folder)
    doom = Doom(point, count)
    attach(doom)
    with light_isolator() as isolator:

        def run(attempt: Attempt, on_phase: Callable[[Any], None]) -> Any:
            def reach(phase: Any) -> None:
                doom.reached(f"phase {phase}")
                on_phase(phase)

            record = isolator.run(attempt, reach).record
            doom.reached("answered")
            return record.model_copy(update={"fingerprint": fingerprint(attempt, {})})

        api.run(
            Sweep.load("sweep.yaml"),
            output="out",
            resume=(folder / "out").exists(),
            executor=lambda _sweep: InlineExecutor(run, {"match": {}}),
        )


def main() -> None:
    """Obey orders until there are no more; the first argument is an MLflow store to make, so that
    all is warm.
    """
    mlflow.MlflowTracker(sys.argv[1]).close()
    registry.workload(f"{TOYS}/matmul.py:WORKLOAD", HERE)
    print("warm", flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            try:
                drive(Path(order["folder"]), order["point"], order["count"])
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(status, flush=True)


if __name__ == "__main__":
    main()
