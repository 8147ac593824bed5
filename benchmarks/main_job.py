"""The main job, a whole sweep from Enter to its end, in this checkout beside an older one.

    PYTHONPATH=. python3 benchmarks/main_job.py BASE_CHECKOUT SWEEP [-S PATH=VALUE ...] [--times N]

Runs `python -m orchestrator SWEEP` in BASE_CHECKOUT and in this one in turns, `--times` each, on
the same machine, each with its own tracking store and output in a folder of its own. Prints the
wall times and their ratio, seconds per row and phase, how many rows are ok and flagged on either
side, which figures a row has on one side only, and how far the medians of equal rows are apart. A
file SWEEP is looked for in each checkout by its path relative to it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[1]
JOURNAL = "results.jsonl"


@dataclass(frozen=True)
class Run:
    """One sweep: its wall time and its records."""

    wall_s: float
    records: list[dict[str, Any]]

    @property
    def rows(self) -> dict[str, dict[str, Any]]:
        """The last record of each trial and round."""
        return {f"{record['trial_id']} {record['round']}": record for record in self.records}


def run(checkout: Path, options: argparse.Namespace, output: Path) -> Run:
    """Run the sweep in a checkout; the benchmark ends with its output where it fails."""
    command = [sys.executable, "-m", "orchestrator", "run", options.sweep, "--quiet"]
    command += ["--output", str(output), "--tracking-uri", f"sqlite:///{output}.db"]
    for override in options.override:
        command += ["-S", override]
    others = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    path = os.pathsep.join([str(checkout), *(one for one in others if one not in ("", str(HERE)))])
    began = time.monotonic()
    done = subprocess.run(
        command,
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    wall_s = time.monotonic() - began
    journal = output / JOURNAL
    if not journal.exists():
        sys.exit(f"no journal after {' '.join(command)} in {checkout}:\n{done.stdout}{done.stderr}")
    records = [json.loads(line) for line in journal.read_text().splitlines() if line]
    print(f"{checkout.name}: {wall_s:.1f} s, {len(records)} attempts", file=sys.stderr, flush=True)
    return Run(wall_s, records)


def summary(name: str, runs: Sequence[Run]) -> str:
    """A line of one side: wall times, rows and flags."""
    rows = [row for found in runs for row in found.rows.values()]
    flags = Counter(flag for row in rows for flag in row["flags"])
    ok = sum(row["outcome"] == "ok" for row in rows)
    attempts = sum(len(found.records) for found in runs)
    walls = ", ".join(f"{found.wall_s:.1f}" for found in runs)
    marks = ", ".join(f"{count} {flag}" for flag, count in flags.items()) or "no flag"
    return f"| {name} | {walls} | {attempts} | {ok} of {len(rows)} | {marks} |"


def phases(runs: Sequence[Run]) -> list[str]:
    """Mean seconds per attempt of each phase, where the records have them."""
    totals: Counter[str] = Counter()
    known = [
        record["phase_s"] for found in runs for record in found.records if record.get("phase_s")
    ]
    for seconds in known:
        totals.update(seconds)
    return [f"| {name} | {total / len(known):.3f} |" for name, total in totals.items()]


def medians(base: Sequence[Run], candidate: Sequence[Run]) -> str:
    """How far the medians of equal rows are apart, and their intervals' widths."""
    ratios = []
    for one in base:
        for other in candidate:
            for key, row in one.rows.items():
                beside = other.rows.get(key)
                if beside and row["outcome"] == beside["outcome"] == "ok":
                    ratios.append(beside["metrics"]["latency_ms"] / row["metrics"]["latency_ms"])
    if len(ratios) < 2:
        return "no row is ok on both sides"
    middle, spread = statistics.median(ratios), statistics.stdev(ratios)
    return f"latency_ms, candidate over base: median {middle:.4f}, standard deviation {spread:.4f}"


def widths(runs: Sequence[Run]) -> str:
    """The intervals' half widths in percent: median and largest."""
    found = []
    for one in runs:
        for row in one.rows.values():
            metrics = row["metrics"] or {}
            low, high = metrics.get("latency_ci_low_ms"), metrics.get("latency_ci_high_ms")
            if low and high:
                found.append(50 * (high - low) / metrics["latency_ms"])
    if not found:
        return "no intervals"
    return f"{statistics.median(found):.3f} % (largest {max(found):.3f} %)"


def only_in(base: Sequence[Run], candidate: Sequence[Run]) -> list[str]:
    """Figures that rows have on one side only."""
    sides = []
    for runs in (base, candidate):
        names: set[str] = set()
        for found in runs:
            for row in found.rows.values():
                known = (row["metrics"] or {}).items()
                names |= {name for name, value in known if value is not None}
        sides.append(names)
    lines = []
    for label, names in (("base", sides[0] - sides[1]), ("candidate", sides[1] - sides[0])):
        if names:
            lines.append(f"figures of the {label} alone: {', '.join(sorted(names))}")
    return lines or ["both have the same figures"]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("base", type=Path, help="a checkout to compare with")
    parser.add_argument("sweep", help="path of the sweep file from the root of either checkout")
    parser.add_argument("-S", dest="override", action="append", default=[], metavar="PATH=VALUE")
    parser.add_argument("--times", type=int, default=3, help="runs of each side, in turns")
    parser.add_argument("--warm", action="store_true", help="first run each side once, uncounted")
    options = parser.parse_args()
    sides: dict[str, list[Run]] = {"base": [], "candidate": []}
    with tempfile.TemporaryDirectory(prefix="main-job-") as folder:
        for number in range(0 if options.warm else 1, options.times + 1):
            for name, checkout in (("base", options.base.resolve()), ("candidate", HERE)):
                found = run(checkout, options, Path(folder) / f"{name}-{number}")
                if number:
                    sides[name].append(found)
    walls = {}
    for name, runs in sides.items():
        walls[name] = statistics.median([one.wall_s for one in runs])
    overrides = "".join(f" -S {override}" for override in options.override)
    print(
        f"{date.today()}, {options.sweep}{overrides}, {options.times} runs of each side in turns\n"
    )
    print(
        "| side | wall (s) | attempts | ok | flags |", "| :-- | --: | --: | --: | :-- |", sep="\n"
    )
    for name, runs in sides.items():
        print(summary(name, runs))
    print(f"\nratio of the medians: {walls['candidate'] / walls['base']:.3f}")
    print(medians(sides["base"], sides["candidate"]))
    for name, runs in sides.items():
        print(f"intervals of the {name}: +- {widths(runs)}")
    print(*only_in(sides["base"], sides["candidate"]), sep="\n")
    print(
        "\n| phase | seconds an attempt |", "| :-- | --: |", *phases(sides["candidate"]), sep="\n"
    )


if __name__ == "__main__":
    main()
