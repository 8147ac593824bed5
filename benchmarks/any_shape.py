"""`improved` beside `standard` over a random sample of shapes, on one GPU.

    PYTHONPATH=. python3 benchmarks/any_shape.py
        [--shapes 60] [--seed 0] [--mixing lse] [--plans] [--sweep FOLDER]

A shape: any head_dim divisible by 8 up to 256, heads that the branches share unevenly, any rates,
dtypes, causal or not, with and without a backward pass. One line each: the device's median times,
the ratio standard / improved, and with --plans both plans of `improved` and the one it chose. At
the end the geometric mean and how many shapes improved is slower on. --sweep writes the sample as a
sweep file with its cases instead, which runs each in isolation and verifies it.

Kernels are compiled by processes side by side first, which is not timed.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from benchmarks.attention_timing import both_of, device_ms, drawn, forward_of
from implementations import DilatedAttentionParams, load
from implementations.dilated_attention.work import attention_flops
from implementations.improved import spec_of
from orchestrator.workload import Config

MOST_FLOPS = 1.5e12  # of a forward pass: a few milliseconds
LEAST_FLOPS = 1e9
MOST_ELEMENTS = 2**27  # of q
WARMING = 12  # processes
PLANS = ("views", "fused")


def sample(shapes: int, seed: int, mixing: str) -> list[DilatedAttentionParams]:
    """So many random problems; the same for the same seed and mixing."""
    draw = random.Random(seed)
    found: list[DilatedAttentionParams] = []
    while len(found) < shapes:
        of = _drawn(draw, mixing)
        elements = of.batch * of.seq_len * of.heads * of.head_dim
        if LEAST_FLOPS < attention_flops(of) < MOST_FLOPS and elements < MOST_ELEMENTS:
            found.append(of)
    return found


def _drawn(draw: random.Random, mixing: str) -> DilatedAttentionParams:
    branches = draw.randint(1, 4)
    shortest = draw.choice([96, 128, 200, 256, 384, 500, 512, 768, 1000, 1024, 1536, 2048])
    lengths = [shortest]
    for _ in range(branches - 1):
        lengths.append(lengths[-1] * draw.choice([2, 2, 3, 4]))
    precision = draw.choice(["ieee", "tf32"])
    dtype = draw.choice(["bfloat16", "bfloat16", "float16", "float32"])
    return DilatedAttentionParams(
        batch=draw.randint(1, 4),
        seq_len=lengths[-1] * draw.choice([1, 1, 2, 4]),
        heads=draw.randint(branches, 20),
        head_dim=8 * draw.randint(2, 32),
        segment_lengths=tuple(lengths),
        dilation_rates=tuple(draw.randint(1, 6) for _ in lengths),
        dtype=dtype,
        causal=draw.random() < 0.5,
        mixing=mixing,
        matmul_precision=precision if dtype == "float32" else "ieee",
        direction=draw.choice(["forward", "forward_backward"]),
        device="cuda",
    )


def milliseconds(of: DilatedAttentionParams, name: str, options: dict[str, Any]) -> float:
    """Median time of a call on the device; inf: it cannot, or memory ran out."""
    backward = of.direction == "forward_backward"
    wrap = both_of if backward else forward_of
    try:
        call = wrap(load(name).build(of, options), drawn(of, backward))
        return device_ms(call, 9)
    except (NotImplementedError, torch.cuda.OutOfMemoryError):
        return math.inf


def asked(plans: bool) -> list[tuple[str, str, dict[str, Any]]]:
    """What is timed: label, implementation, options."""
    found: list[tuple[str, str, dict[str, Any]]] = [("standard", "standard", {})]
    found.append(("improved", "improved", {}))
    if plans:
        found += [(plan, "improved", {"plan": plan}) for plan in PLANS]
    return found


def warm() -> None:
    """Compile every kernel once, by processes side by side."""
    command = [sys.executable, *sys.argv, "--share"]
    running = [
        subprocess.Popen([*command, str(number)], env=os.environ, stdout=subprocess.DEVNULL)
        for number in range(WARMING)
    ]
    for process in running:
        process.wait()


def compile_share(options: argparse.Namespace) -> None:
    """Call what belongs to one of the processes that compile."""
    for of in sample(options.shapes, options.seed, options.mixing)[options.share :: WARMING]:
        backward = of.direction == "forward_backward"
        for _, name, given in asked(options.plans):
            try:
                call = load(name).build(of, given)
                (both_of if backward else forward_of)(call, drawn(of, backward))()
            except (NotImplementedError, torch.cuda.OutOfMemoryError):
                continue
        torch.cuda.empty_cache()


def line_of(of: DilatedAttentionParams, ms: dict[str, float]) -> str:
    """A shape and its times."""
    what = (
        f"b{of.batch} n{of.seq_len} H{of.heads} d{of.head_dim} s{list(of.segment_lengths)} "
        f"r{list(of.dilation_rates)} {of.dtype}{'/tf32' if of.matmul_precision == 'tf32' else ''}"
        f"{' causal' if of.causal else ''}{' +bwd' if of.direction != 'forward' else ''}"
    )
    times = " ".join(f"{label} {value:.4f}" for label, value in ms.items())
    return f"{ms['standard'] / ms['improved']:6.3f}  {what}: {times}"


SWEEP = """name: any_shape
workload: dilated_attention
implementations: [standard, improved]
baseline: standard
cases: shapes.jsonl
"""


def write_sweep(problems: list[DilatedAttentionParams], folder: Path) -> None:
    """Write a sweep file over these problems, and its cases beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    cases = [of.model_dump_json(exclude={"device"}) for of in problems]
    (folder / "shapes.jsonl").write_text("\n".join(cases) + "\n")
    (folder / "any_shape.yaml").write_text(SWEEP)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shapes", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--mixing", choices=["head_groups", "lse"], default="head_groups")
    parser.add_argument("--plans", action="store_true")
    parser.add_argument("--sweep", type=Path, metavar="FOLDER")
    parser.add_argument("--share", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    problems = sample(options.shapes, options.seed, options.mixing)
    if options.sweep:
        write_sweep(problems, options.sweep)
        return
    if options.share is not None:
        compile_share(options)
        return
    warm()
    ratios = []
    for of in problems:
        ms = {label: milliseconds(of, name, given) for label, name, given in asked(options.plans)}
        ratios.append(ms["standard"] / ms["improved"])
        plan = spec_of(Config(of.model_dump(exclude={"device"}), "cuda")).plan
        print(line_of(of, ms), plan, flush=True)
        torch.cuda.empty_cache()
    slower = sum(ratio < 1 for ratio in ratios)
    print(
        f"geometric mean {statistics.geometric_mean(ratios):.3f}; {slower} of {len(ratios)} slower"
    )


if __name__ == "__main__":
    main()
