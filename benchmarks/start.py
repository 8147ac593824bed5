"""From Enter to the first row of a sweep, and how long `plan` takes: this checkout beside another.

    PYTHONPATH=. python3 benchmarks/start.py BASE_CHECKOUT [--sweep sweeps/quick.yaml] [--times N]

Runs `python -m orchestrator SWEEP` in each checkout in turns, on the CPU, with output and tracking
store in a new folder each time. A run is ended by SIGTERM once its journal has its first line: that
is the time reported. `plan` is timed to its end. Prints medians, ranges and the ratios of medians.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
LIMIT_S = 300.0
LOOK_S = 0.005


def environment(checkout: Path) -> dict[str, str]:
    """The environment in which `checkout` is what `import orchestrator` finds."""
    others = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    path = [str(checkout), *(one for one in others if one not in ("", str(HERE)))]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path)}


def first_row_s(checkout: Path, sweep: str, folder: Path) -> float:
    """Seconds from the start of the program to the first line of its journal."""
    command = [sys.executable, "-m", "orchestrator", "run", sweep, "--quiet", "--device", "cpu"]
    command += ["--output", str(folder / "out"), "--tracking-uri", f"sqlite:///{folder}/mlflow.db"]
    journal = folder / "out/results.jsonl"
    with (folder / "words").open("w") as words:
        began = time.monotonic()
        program = subprocess.Popen(
            command, cwd=checkout, env=environment(checkout), stdout=words, stderr=words
        )
        while not (journal.exists() and b"\n" in journal.read_bytes()):
            time.sleep(LOOK_S)
            if program.poll() is not None or time.monotonic() - began > LIMIT_S:
                program.kill()
                sys.exit(f"no row in {checkout}:\n{(folder / 'words').read_text()}")
        took = time.monotonic() - began
        program.send_signal(signal.SIGTERM)
        program.wait(60)
    return took


def plan_s(checkout: Path, sweep: str) -> float:
    """Seconds of `plan`."""
    command = [sys.executable, "-m", "orchestrator", "plan", sweep, "--device", "cpu"]
    began = time.monotonic()
    subprocess.run(
        command,
        cwd=checkout,
        env=environment(checkout),
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return time.monotonic() - began


def line(name: str, base: list[float], here: list[float]) -> str:
    """One row of the table."""
    ranges = [f"{statistics.median(s):.2f} ({min(s):.2f}-{max(s):.2f})" for s in (base, here)]
    ratio = statistics.median(here) / statistics.median(base)
    return f"| {name} | {ranges[0]} | {ranges[1]} | {ratio:.3f} |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("base", type=Path, help="a checkout to compare with")
    parser.add_argument("--sweep", default="sweeps/quick.yaml", help="path from a checkout's root")
    parser.add_argument("--times", type=int, default=3, help="runs of each side, in turns")
    options = parser.parse_args()
    checkouts = {"base": options.base.resolve(), "here": HERE}
    rows: dict[str, list[float]] = {"base": [], "here": []}
    plans: dict[str, list[float]] = {"base": [], "here": []}
    for _ in range(options.times):
        for name, checkout in checkouts.items():
            with tempfile.TemporaryDirectory(prefix="start-") as folder:
                rows[name].append(first_row_s(checkout, options.sweep, Path(folder)))
            plans[name].append(plan_s(checkout, options.sweep))
    print("| seconds to | base | here | ratio |", "| :-- | --: | --: | --: |", sep="\n")
    print(line("first row", rows["base"], rows["here"]))
    print(line("end of plan", plans["base"], plans["here"]))


if __name__ == "__main__":
    main()
