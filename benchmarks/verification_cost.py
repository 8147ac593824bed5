"""CPU seconds that verification takes of each row of a sweep, here and in a checkout of 2c7e0db.

    git worktree add --detach /tmp/base 2c7e0db
    python benchmarks/verification_cost.py --base /tmp/base [--set axes.batch=[1] ...] [--rounds 3]

Each checkout runs the same trials on a CPU, one after another in one process, the checkouts in
turns; what is added up are both verifications, timed calls that are judged and the look for memory
of outputs. Printed are seconds a row, their sums and the ratio: medians over the rounds.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent.parent
BRIEF = [
    "measure.ceilings=false",
    "measure.max_time_s=0.5",
    "measure.min_time_s=0",
    "measure.warmup_s=0",
]


def main() -> None:
    """Run both checkouts in turns and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", type=Path, required=True, help="a checkout of 2c7e0db")
    parser.add_argument("--sweep", default="sweeps/full.yaml")
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE")
    parser.add_argument("--rounds", type=int, default=1)
    given = parser.parse_args()
    spent: dict[str, dict[str, list[float]]] = {
        "base": defaultdict(list),
        "here": defaultdict(list),
    }
    for _ in range(given.rounds):
        for name, checkout in (("base", given.base.resolve()), ("here", HERE)):
            for row, seconds in _rows(checkout, given.sweep, given.set).items():
                spent[name][row].append(seconds)
    medians = {}
    for name, rows in spent.items():
        medians[name] = {row: statistics.median(found) for row, found in rows.items()}
    for row, base in medians["base"].items():
        here = medians["here"][row]
        print(f"{row:44s} {base:7.2f} {here:7.2f} {here / base:6.2f}")
    base, here = sum(medians["base"].values()), sum(medians["here"].values())
    print(f"{'all rows':44s} {base:7.2f} {here:7.2f} {here / base:6.2f}")


def _rows(checkout: Path, sweep: str, overrides: list[str]) -> dict[str, float]:
    """CPU seconds by row of one checkout, in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--worker", sweep, *overrides]
    found = subprocess.run(
        command, cwd=checkout, env=environment, stdout=subprocess.PIPE, check=True, text=True
    )
    rows: dict[str, float] = json.loads(found.stdout.splitlines()[-1])
    return rows


def _worker(sweep_file: str, overrides: list[str]) -> None:
    """Run every trial by this checkout's own worker; one line of JSON at the end."""
    spent = [0.0]
    sweep, run = _of_2c7e0db(spent) if not _has_rooms() else _of_today(spent)
    rows = {}
    loaded = sweep(sweep_file, [*BRIEF, *overrides])
    for trial in loaded.trials:
        # as the fork server does: or one row in ten has a collection of all that torch is, 0.6 s
        gc.collect()
        gc.freeze()
        spent[0] = 0.0
        found = run(loaded, trial)
        record = getattr(found, "record", found)
        params = trial.params
        shape = " ".join(f"{name}={params[name]}" for name in ("batch", "seq_len", "heads"))
        name = f"{trial.implementation} {shape}"
        rows[name] = spent[0]
        print(f"{name} {record.outcome} {spent[0]:.2f}", file=sys.stderr, flush=True)
    print(json.dumps(rows))


def _has_rooms() -> bool:
    return (Path.cwd() / "orchestrator" / "verify").is_dir()


def _of_2c7e0db(spent: list[float]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    def named(module: str, name: str) -> Any:
        return getattr(importlib.import_module(f"orchestrator.{module}"), name)

    load, attempt_of = named("sweep", "Sweep").load, named("trial", "Attempt")
    run_attempt, resources = named("worker", "run_attempt"), named("trial", "Resources")
    examined = (named("examiner", "Examiner"), "examine")
    _counted(spent, examined, (named("stages", "Stages"), "verify_again"))

    def run(sweep: Any, trial: Any) -> Any:
        attempt = attempt_of(
            sweep_id="cost",
            trial=trial,
            workload=sweep.spec.workload,
            base_dir=sweep.base_dir,
            device="cpu",
            seed=1,
            protocol=sweep.spec.measure.for_device("cpu"),
            verify=sweep.spec.verify,
            resources=resources(),
        )
        return run_attempt(attempt)

    return load, run


def _of_today(spent: list[float]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    from orchestrator.driver.attempts import AttemptFactory
    from orchestrator.plan.sweep import Sweep
    from orchestrator.verify.verifier import Verifier
    from orchestrator.worker.run_attempt import run_attempt
    from orchestrator.worker.stages import Stages

    _counted(spent, (Verifier, "verify"), (Stages, "verify_again"))

    def run(sweep: Any, trial: Any) -> Any:
        factory = AttemptFactory(sweep, "cost", "cpu", defaultdict(str))
        return run_attempt(factory.attempt(trial, (trial.trial_id, 1), 1))

    return lambda path, overrides: Sweep.load(path, overrides), run


def _counted(spent: list[float], *methods: tuple[type, str]) -> None:
    """Have these methods add their CPU time to `spent`, calls within calls once."""
    depth = [0]

    def counting(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            start = time.process_time()
            depth[0] += 1
            try:
                return method(*args, **kwargs)
            finally:
                depth[0] -= 1
                if depth[0] == 0:
                    spent[0] += time.process_time() - start

        return call

    for kind, name in methods:
        setattr(kind, name, counting(getattr(kind, name)))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        sys.path = [
            entry for entry in sys.path if Path(entry or ".").resolve() != HERE / "benchmarks"
        ]
        _worker(sys.argv[2], sys.argv[3:])
    else:
        main()
