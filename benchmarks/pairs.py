"""What `compare`, `history` and `compare --again` say of real sweeps of equal code, and of slower.

    python benchmarks/pairs.py --sweeps 24 --pairs 100 [--pause-s 0] [--again 0] [--folder DIR]

Runs one small sweep over and over on this machine. Pairs of them, minutes to hours apart, are
compared: nothing but the machine differs, so that "slower" and "faster" are false verdicts; so are
steps in their history. Then `compare --again` is asked so many times about equal code, and as often
about code that is 20 % slower. Printed are counts of rows by verdict and of pairs with a false one.
Rows on a machine that is disturbed are flagged, and what a comparison says of most rows in doubt is
"unclear": how many rows were in doubt is printed, too.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

WORK = '''\
"""Root mean square norm of rows."""

import torch


def inputs(rows: int, width: int):
    return (torch.randn(rows, width),)


def reference(x):
    return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt()


def normed(x):
    {also}
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6)
'''
SAME = "torch.set_num_threads(1)"
SLOWER = f"""{SAME}
    some = x[: len(x) // 5]
    some * torch.rsqrt(some.square().mean(-1, keepdim=True) + 1e-6)"""
SWEEP = """\
name: pairs
workload: norm.py
implementations: [{use: "norm.py:normed", label: normed}]
axes: {rows: [64, 256, 1024]}
constants: {width: 1024}
measure: {max_time_s: 1}
"""
FALSE = ("slower", "faster")


def main() -> None:
    """Run the sweeps, compare the pairs, print the counts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sweeps", type=int, default=24)
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--pause-s", type=float, default=0.0, help="between two sweeps")
    parser.add_argument("--again", type=int, default=0)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        for name, also in (("old", SAME), ("same", SAME), ("new", SLOWER)):
            (folder / name).mkdir(parents=True, exist_ok=True)
            (folder / name / "norm.py").write_text(WORK.format(also=also))
            (folder / name / "sweep.yaml").write_text(SWEEP)
        began = time.monotonic()
        rows: list[dict[str, Any]] = []
        for number in range(given.sweeps):
            rows += swept_once(folder, number, given.pause_s)
        doubtful = sum(len(row["flags"]) > 0 for row in rows)
        print(f"{given.sweeps} sweeps in {time.monotonic() - began:.0f} s")
        print(f"{doubtful} of {len(rows)} rows in doubt")
        everything = list(itertools.combinations(range(given.sweeps), 2))
        chosen = random.Random(0).sample(everything, min(given.pairs, len(everything)))
        told("compare, equal code", [compared(folder, pair) for pair in chosen])
        found = json.loads(command(folder, "history", "--json"))
        steps = sum(len(row["steps"]) for row in found["rows"])
        print(f"history: {steps} steps in {len(found['rows'])} rows")
        for side, words in (("same", "equal code"), ("new", "20 % slower code")):
            told(f"compare --again, {words}", [again(folder, side) for _ in range(given.again)])


def swept_once(folder: Path, number: int, pause_s: float) -> list[dict[str, Any]]:
    """Run the sweep once; its records."""
    time.sleep(pause_s if number else 0.0)
    output = folder / "mlruns" / "sweeps" / "pairs" / f"{number:03d}"
    command(folder, "run", "old/sweep.yaml", "--quiet", "--output", str(output))
    return [json.loads(line) for line in (output / "results.jsonl").read_text().splitlines()]


def compared(folder: Path, pair: tuple[int, int]) -> dict[str, Any]:
    """What `compare` says of two of the sweeps."""
    sides = [str(folder / "mlruns" / "sweeps" / "pairs" / f"{number:03d}") for number in pair]
    found: dict[str, Any] = json.loads(command(folder, "compare", *sides, "--same-code", "--json"))
    return found


def again(folder: Path, side: str) -> dict[str, Any]:
    """What `compare --again` says of the code of before and that of `side`."""
    sides = ("old/sweep.yaml", f"{side}/sweep.yaml")
    found: dict[str, Any] = json.loads(
        command(folder, "compare", *sides, "--again", "--same-code", "--quiet", "--json")
    )
    return found


def told(what: str, comparisons: Sequence[dict[str, Any]]) -> None:
    """Print how often each verdict was given, by row, and of how many pairs one was false."""
    rows = Counter[str]()
    pairs = 0
    for one in comparisons:
        verdicts = [row["verdict"] for row in one["rows"]]
        rows.update(verdicts)
        pairs += not set(FALSE).isdisjoint(verdicts)
    words = ", ".join(f"{count} {verdict}" for verdict, count in rows.most_common())
    print(f"{what}: {len(comparisons)} pairs, {pairs} with slower or faster rows; rows: {words}")


def command(folder: Path, *arguments: str) -> str:
    """Standard output of one command of ours in the folder; the benchmark ends where it fails."""
    environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in (0, 1):
        sys.exit(f"orchestrator {' '.join(arguments)}:\n{done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    main()
