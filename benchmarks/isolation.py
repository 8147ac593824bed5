"""What a fresh process per trial costs: the slope of wall time per trivial trial, beside a fresh
interpreter's.

    python -m benchmarks.isolation [--trials 100] [--rounds 3] [--json]

Measures in one run, alternating so that whatever else the machine does falls on all alike:

  fresh interpreter   python -c "import torch", what a trial would cost at least without the fork server
  isolator            one attempt through Isolator.run: fork, build, verify, measure, record, everything gone
  sweep               one trial more in `python -m orchestrator SWEEP`, Ray, journal and MLflow included: from the end
                      of its first trial to the exit of the program, by the number of trials after
                      the first. Reports and the end of Ray are in it, so it is a bound from above,
                      and no start-up blurs it

The trials are trivial (benchmarks/trivial.py) and measured once each. Times are seconds: the median
over rounds, with the lowest and highest. Exit code 1 where the sweep's slope is above 1/8 of the
interpreter.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from orchestrator.isolation.isolator import Isolator
from orchestrator.spec.models import MeasureSpec, VerifySpec
from orchestrator.trial import Attempt, Resources, Trial

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
GOAL = 1 / 8
MEASURE: dict[str, Any] = {
    "warmup_s": 0.0,
    "min_time_s": 0.0,
    "max_time_s": 0.001,
    "min_repetitions": 1,
    "target_ci": 0.9,
    "remeasure": 0,
    "sentinels": False,
}


@dataclass(frozen=True)
class Samples:
    """Seconds per trial, one figure a round."""

    name: str
    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Of the rounds."""
        return statistics.median(self.seconds)

    def __str__(self) -> str:
        spread = f"{min(self.seconds):.4f} - {max(self.seconds):.4f}"
        return f"{self.name:<20} {self.median:10.4f} s   ({spread})"


def main() -> int:
    """Measure, print, and say whether the goal is met."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    options = parser.parse_args()
    if options.trials < 2 or options.rounds < 1:
        parser.error("--trials must be 2 or more and --rounds 1 or more")
    fresh, isolator, sweep = measure(options.trials, options.rounds)
    ratio = sweep.median / fresh.median
    if options.json:
        figures = {samples.name: samples.seconds for samples in (fresh, isolator, sweep)}
        print(json.dumps({"seconds": figures, "ratio": ratio, "goal": GOAL}))
    else:
        print(fresh, isolator, sweep, sep="\n")
        print(f"sweep / fresh interpreter = 1/{1 / ratio:.1f}, goal 1/{1 / GOAL:.0f} or less")
    return 0 if ratio <= GOAL else 1


def measure(trials: int, rounds: int) -> tuple[Samples, Samples, Samples]:
    """Fresh interpreter, isolator, sweep."""
    with tempfile.TemporaryDirectory() as directory, Isolator() as isolator:
        isolator.run(_attempt(0))
        rows = [
            (_fresh(), _isolated(isolator, trials), _swept(Path(directory) / str(number), trials))
            for number in range(rounds)
        ]
    names = ("fresh interpreter", "isolator", "sweep")
    fresh, isolated, sweep = (
        Samples(name, figures) for name, figures in zip(names, zip(*rows, strict=True), strict=True)
    )
    return fresh, isolated, sweep


def _fresh() -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import torch"], check=True)
    return time.perf_counter() - started


def _isolated(isolator: Isolator, trials: int) -> float:
    started = time.perf_counter()
    for number in range(trials):
        isolator.run(_attempt(number))
    return (time.perf_counter() - started) / trials


def _swept(directory: Path, trials: int) -> float:
    """What each trial after the first adds to a sweep's wall time, at most."""
    directory.mkdir()
    sweep = {
        "name": "trivial",
        "workload": f"{HERE / 'trivial.py'}:workload",
        "implementations": [f"{HERE / 'trivial.py'}:build"],
        "axes": {"number": list(range(trials))},
        "measure": MEASURE,
    }
    file = directory / "sweep.yaml"
    file.write_text(json.dumps(sweep))  # JSON is YAML
    command = [
        sys.executable,
        "-m",
        "orchestrator",
        str(file),
        "--device",
        "cpu",
        "--quiet",
        "--output",
        str(directory / "out"),
    ]
    done = subprocess.run(
        [*command, "--tracking-uri", f"sqlite:///{directory / 'mlflow.db'}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise SystemExit(
            f"the sweep of {trials} trials exited with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        )
    ended = time.time()
    with (directory / "out/results.jsonl").open() as journal:
        first = json.loads(next(journal))["finished_at"]
    return (ended - datetime.fromisoformat(first).timestamp()) / (trials - 1)


def _attempt(number: int) -> Attempt:
    use = f"{HERE / 'trivial.py'}:build"
    return Attempt(
        sweep_id="benchmark",
        trial=Trial.of(implementation="build", use=use, params={"number": number}, options={}),
        workload=f"{HERE / 'trivial.py'}:workload",
        base_dir=str(HERE),
        device="cpu",
        seed=0,
        protocol=MeasureSpec(**MEASURE).for_device("cpu"),
        verify=VerifySpec(),
        resources=Resources(),
    )


if __name__ == "__main__":
    raise SystemExit(main())
