"""How long it takes to look rows up in many sweeps, and to see their history.

    python benchmarks/store.py --sweeps 1000 --rows 1000 --folder /tmp/store

writes as many sweeps of as many rows into the folder, as they would stand there had they been run
on this machine, and times: the index made from nothing; every row of one sweep looked up;
`plan --reuse`; the table of a sweep of 90 rows that is wholly known, by `run --reuse`; `history`.
The folder is removed at the end unless --keep is given. A million rows take about 2 GB.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from orchestrator.driver.attempts import AttemptFactory
from orchestrator.driver.reuse import Reuse, environments_here
from orchestrator.driver.stale import KnownSources
from orchestrator.history.index import FILE_NAME, Index
from orchestrator.outcome import Outcome, Phase
from orchestrator.plan.sweep import Sweep
from orchestrator.record import record_of
from orchestrator.results import sources, sweep_directory
from orchestrator.results.columns import shown_by
from orchestrator.results.meta import SweepMeta

TEXT = """\
name: store
workload: dilated_attention
implementations: [standard, improved]
axes: {{batch: {batch}, seq_len: [256, 512, 1024, 2048, 4096], heads: [4, 8, 16]}}
constants: {{segment_lengths: ["seq_len // 4", "seq_len"], dilation_rates: [1, 2]}}
"""
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
SHOWN = 90  # rows of the sweep whose table is timed
TRIES = 3
METRICS = (
    "noise_pct", "peak_memory_mib", "workspace_mib", "throughput_tokens_per_s", "tflops_per_s",
    "gbps", "relative_error", "build_s", "first_call_s", "iterations_per_repetition",
)  # fmt: skip


def main() -> None:
    """Write the store, time what is done with it, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sweeps", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--keep", action="store_true", help="leave the folder there")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    os.chdir(options.folder)
    os.environ["PYTHONPATH"] = str(Path(__file__).parents[1])
    try:
        measure(options.sweeps, options.rows)
    finally:
        if not options.keep:
            shutil.rmtree(options.folder)


def measure(sweeps: int, rows: int) -> None:
    """Every figure, as it is known."""
    batches = list(range(1, 1 + -(-rows // 30)))
    Path("store.yaml").write_text(TEXT.format(batch=batches))
    Path("few.yaml").write_text(TEXT.format(batch=batches[: SHOWN // 30]))
    sweep = Sweep.load("store.yaml")
    if not sweep_directory.SWEEPS.exists():
        say("the store written", lambda: write(sweep, sweeps, rows), tries=1)
    index = sweep_directory.SWEEPS / FILE_NAME
    if not index.exists():
        say("the index made from nothing", lambda: Index().close(), tries=1)
    print(f"{'size of the index':44} {index.stat().st_size / 2**20:.0f} MiB", flush=True)
    say(f"{rows} rows looked up", lambda: look_up(sweep, rows))
    run = [sys.executable, "-m", "orchestrator"]
    known = [*run, "plan", "store.yaml", "--device", "cpu", "--reuse"]
    say("plan --reuse", lambda: until(known, "to be measured"))
    table = [*run, "run", "few.yaml", "--device", "cpu", "--reuse"]
    say(f"run --reuse, {SHOWN} rows, until its table", lambda: until(table, "Reused:"))
    past = [*run, "history", "--implementation", "improved", "--where"]
    say("history of 90 rows", lambda: until([*past, "batch <= 6"], "A step"))
    one = "seq_len == 4096 and batch == 1 and heads == 8"
    say("history of one row", lambda: until([*past, one], "A step"))


def look_up(sweep: Sweep, rows: int) -> None:
    """So many rows of the sweep; each must be known."""
    reuse = Reuse(sweep, "cpu", environments_here(sweep, "cpu"), KnownSources(sweep))
    missing = sum(reuse.hit(trial) is None for trial in sweep.trials[:rows])
    reuse.close()
    assert not missing, f"{missing} rows are not known"


def until(command: list[str], mark: str) -> float:
    """Run a command until a line of its output has `mark`; then end it.

    Returns:
        The moment at which the line came, by `time.perf_counter`: ending takes a while itself.
    """
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        found = any(mark in line for line in process.stdout)
        came = time.perf_counter()
        process.terminate()
    assert found, f"{' '.join(command)} never said {mark!r}"
    return came


def say(what: str, action: Callable[[], float | None], tries: int = TRIES) -> None:
    """A line of the table: the fastest of a few tries, and the least CPU time of one.

    Others use the machine, too; CPU time is of this process and of those that it started, until
    they have ended. An action may say at which moment what is timed was done.
    """
    walls, cpus = [], []
    for _ in range(tries):
        begun, used = time.perf_counter(), cpu_s()
        done = action()
        walls.append((time.perf_counter() if done is None else done) - begun)
        cpus.append(cpu_s() - used)
    print(f"{what:44} {min(walls):6.2f} s, CPU {min(cpus):6.2f} s", flush=True)


def cpu_s() -> float:
    """CPU seconds of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def write(sweep: Sweep, sweeps: int, rows: int) -> None:
    """Sweeps a quarter of a day apart; each row's time is drawn around its own median."""
    draw = random.Random(0)
    known = KnownSources(sweep)
    environment = environments_here(sweep, "cpu")[0]
    factory = AttemptFactory(sweep, "", "cpu", known.now)
    trials = sweep.trials[:rows]
    lines = []
    for trial in trials:
        record = record_of(
            factory.attempt(trial, (trial.trial_id, 1), 1), Outcome.OK, Phase.DONE, "",
            environment["match"], metrics={name: draw.uniform(1, 100) for name in METRICS},
        )  # fmt: skip
        lines.append(json.loads(record.to_line()))
    hash_ = lines[0]["fingerprint"]["environment"]
    for number in range(sweeps):
        at = BEGAN + timedelta(hours=6 * number)
        sweep_id = f"{at:%Y%m%d_%H%M%S}_{number % 65536:04x}"
        meta = SweepMeta(
            sweep_id=sweep_id, name="store", created_at=at.isoformat(), base_dir=sweep.base_dir,
            device="cpu", spec=sweep.spec, planned=trials,
            shown=shown_by(sweep.workload, sweep.spec.constants),
        )  # fmt: skip
        directory = sweep_directory.SWEEPS / "store" / sweep_id
        directory.mkdir(parents=True)
        (directory / sweep_directory.META_FILE).write_text(meta.model_dump_json())
        know = {**environment["know"], "git_commit": f"{number // 10:040x}"}
        facts = {hash_: {**environment, "know": know}}
        (directory / sweep_directory.ENVIRONMENT_FILE).write_text(json.dumps(facts))
        (directory / sources.FILE_NAME).write_text(json.dumps(known.all()))
        with (directory / "results.jsonl").open("w") as journal:
            for line in lines:
                journal.write(json.dumps(as_of(line, sweep_id, at, draw)) + "\n")


def as_of(line: dict[str, Any], sweep_id: str, at: datetime, draw: random.Random) -> dict[str, Any]:
    """A record as this sweep has it."""
    latency = line["params"]["seq_len"] / 100 * draw.gauss(1, 0.01)
    figures = {
        "latency_ms": latency,
        "latency_ci_low_ms": 0.995 * latency,
        "latency_ci_high_ms": 1.005 * latency,
    }
    return {
        **line,
        "sweep_id": sweep_id,
        "started_at": at.isoformat(),
        "finished_at": at.isoformat(),
        "metrics": {**line["metrics"], **figures},
        "values_ms": [0.99 * latency, latency, 1.01 * latency],
    }


if __name__ == "__main__":
    main()
