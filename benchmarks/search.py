"""How soon a search that screens finds a choice, and how good it is: beside every point by itself.

    PYTHONPATH=. python3 benchmarks/search.py SWEEP [-S PATH=VALUE ...] [--samples 200] [--seeds 10]

Runs the sweep's whole space once as a grid, every point by itself, and then a search with `screen`
for each seed, each in a folder of its own. A choice is judged by the grid's time of the point that
was chosen over the grid's best time of that shape: 1.02 is 2 % worse than the best. Prints the wall
time of every run and, for each seed, the worst of these ratios; a seed is good within --within.
Axes must be lists, so that there is a grid of them.
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
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.results import sweep_directory
from orchestrator.results.rows import Row

Point = tuple[str, str]  # implementation, and the params as JSON


def wall_s(sweep: str, overrides: Sequence[str], output: Path, *more: str) -> float:
    """Seconds of one sweep; its rows may fail, its start may not."""
    command = [sys.executable, "-m", "orchestrator", "run", sweep, "--quiet", *more]
    command += ["--output", str(output), "--tracking-uri", f"sqlite:///{output}.db"]
    for override in overrides:
        command += ["-S", override]
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False)
    if done.returncode not in (0, 1):
        sys.exit(f"{' '.join(command)}:\n{done.stdout}{done.stderr}")
    return time.monotonic() - began


def times(rows: Sequence[Row]) -> dict[Point, dict[str, float]]:
    """Point -> options as JSON -> median in ms, of the rows that are ok."""
    found: dict[Point, dict[str, float]] = {}
    for row in rows:
        latency_ms = row.metrics.get("latency_ms")
        if row.ok and latency_ms:
            point = (row.implementation, json.dumps(row.params, sort_keys=True))
            options = json.dumps(dict(row.trial.options), sort_keys=True)
            found.setdefault(point, {})[options] = latency_ms
    return found


def worst_ratio(grid: Mapping[Point, Mapping[str, float]], choices: Sequence[Any]) -> float:
    """The largest of the choices' times over their points' best, by the grid; inf: one is missing."""
    ratios = []
    chosen = {}
    for choice in choices:
        point = (choice["implementation"], json.dumps(choice["params"], sort_keys=True))
        chosen[point] = json.dumps(choice["options"], sort_keys=True)
    for point, known in grid.items():
        options = chosen.get(point)
        if options is None or options not in known:
            return float("inf")
        ratios.append(known[options] / min(known.values()))
    return max(ratios, default=float("inf"))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sweep")
    parser.add_argument("-S", dest="override", action="append", default=[], metavar="PATH=VALUE")
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--within", type=float, default=1.02)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="search-") as text:
        folder = Path(text)
        whole = [*options.override, "search={}"]
        grid_s = wall_s(options.sweep, whole, folder / "grid")
        grid = times(sweep_directory.load(folder / "grid").rows)
        print(
            f"every point by itself: {grid_s:.1f} s, {sum(map(len, grid.values()))} ok", flush=True
        )
        walls, good = [], 0
        for seed in range(options.seeds):
            asked = ["search.screen=true", f"search.samples={options.samples}"]
            asked += [f"search.seed={seed}", *options.override]
            output, file = folder / f"seed{seed}", folder / f"seed{seed}.json"
            walls.append(wall_s(options.sweep, asked, output, "--export", str(file)))
            ratio = worst_ratio(grid, json.loads(file.read_text())["choices"])
            good += ratio <= options.within
            print(f"seed {seed}: {walls[-1]:.1f} s, {ratio:.4f} of the best", flush=True)
    within = f"within {100 * (options.within - 1):.1f} % of the best"
    print(f"median {statistics.median(walls):.1f} s; {good} of {options.seeds} seeds {within}")


if __name__ == "__main__":
    main()
