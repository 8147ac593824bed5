"""How often `history` finds a step where there is none, and how often where there is one.

    python benchmarks/changes.py                    # A/A: fixed pieces of work on this machine
    python benchmarks/changes.py --points 480 --csv points.csv

Each series is one piece of work timed over and over, all in turns, as sweeps would time it from day
to day: nothing changes but the machine. Windows of a series stand for histories of so many sweeps.
Printed are, by length of the window, the share of windows with a step of 1 % or more: as the times
came; shuffled, which takes away whatever the machine did slowly; and, of the shuffled ones, with the
last quarter made slower by 2, 5 and 10 %: the share in which that step is found to the place.
"""

from __future__ import annotations

import argparse
import csv
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from tabulate import tabulate

from orchestrator.history.timeline import LEAST_EFFECT
from orchestrator.stats.changes import WANTED, changes

LENGTHS = (12, 24, 48, 96)
INJECTED = (0.02, 0.05, 0.10)
CALLS = 7  # of a point, whose value is their median


def main() -> None:
    """Time the pieces of work, or read times; print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=192, help="of each series")
    parser.add_argument("--csv", type=Path, help="read the times from here, or write them there")
    options = parser.parse_args()
    if options.csv is not None and options.csv.exists():
        series = [list(map(float, line)) for line in csv.reader(options.csv.open())]
    else:
        series = timed(options.points)
        if options.csv is not None:
            with options.csv.open("w") as file:
                csv.writer(file).writerows(series)
    print(f"{len(series)} series of {len(series[0])} points, alpha {WANTED}")
    print(tabulate(table(series), ["sweeps", "windows", "as it came", "shuffled",
                                   *(f"+{100 * by:.0f} % found" for by in INJECTED)]))  # fmt: skip


def timed(points: int) -> list[list[float]]:
    """Milliseconds of each piece of work, all in turns."""
    torch.set_num_threads(1)
    works = pieces()
    series: list[list[float]] = [[] for _ in works]
    for _ in range(points):
        for own, work in zip(series, works, strict=True):
            taken = []
            for _ in range(CALLS):
                begun = time.perf_counter()
                work()
                taken.append(1000 * (time.perf_counter() - begun))
            own.append(statistics.median(taken))
    return series


def pieces() -> list[Callable[[], object]]:
    """What sweeps time most: products, sums, softmax, attention, copies; each a millisecond or less."""
    a, b = torch.randn(256, 256), torch.randn(256, 256)
    rows = torch.randn(256, 1024)
    heads = torch.randn(1, 4, 128, 64)
    large = torch.randn(1_000_000)
    return [
        lambda: a @ b,
        lambda: rows.softmax(-1),
        lambda: rows.sum(0),
        lambda: torch.nn.functional.scaled_dot_product_attention(heads, heads, heads),
        lambda: large.clone(),
        lambda: rows.cumsum(-1),
    ]


def table(series: list[list[float]]) -> list[list[str]]:
    """A line for each length of a window."""
    draw = random.Random(0)
    lines = []
    for length in LENGTHS:
        windows: list[list[float]] = []
        for own in series:
            starts = range(0, len(own) - length + 1, length // 2)
            windows.extend(own[start : start + length] for start in starts)
        shuffled = [draw.sample(window, length) for window in windows]
        line = [str(length), str(len(windows))]
        line += [share(map(has_step, windows)), share(map(has_step, shuffled))]
        for by in INJECTED:
            line.append(share(finds(window, by) for window in shuffled))
        lines.append(line)
    return lines


def has_step(values: list[float]) -> bool:
    """Whether a step of LEAST_EFFECT or more is found."""
    return any(abs(change.ratio - 1) >= LEAST_EFFECT for change in changes(values, WANTED))


def finds(values: list[float], by: float) -> bool:
    """Whether a slow-down of the last quarter is found within one place of where it is."""
    at = len(values) - max(3, len(values) // 4)
    slower = [*values[:at], *((1 + by) * value for value in values[at:])]
    return any(abs(change.at - at) <= 1 for change in changes(slower, WANTED))


def share(found: object) -> str:
    """`2.1 %`."""
    answers = list(found)  # type: ignore[call-overload]
    return f"{100 * sum(answers) / len(answers):.1f} %"


if __name__ == "__main__":
    main()
