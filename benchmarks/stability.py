"""Whether the figures hold: the same rows swept several times over, and slow-downs of a known size.

    PYTHONPATH=. python3 -m benchmarks.stability [spread] [slowdown] [options]

spread    Each row in several sweeps, each of `--repeats` fresh processes in shuffled rounds. Prints the coefficient of
          variation of the medians between sweeps, beside that of the seed's protocol (3 warm-ups,
          the mean of 10 calls by the wall clock) measured in the same processes; how often a
          sweep's 95 % interval holds the median of the other sweeps; and the false verdicts of
          `compare` on every pair of sweeps of one row (A/A).
slowdown  A slow-down made on purpose, in several tries: on a GPU 2 % by duels, on a CPU 20 % by plain compare.

Needs neither Ray nor MLflow. `--budget` is in seconds a part: what is done by then counts. In two
minutes of a GPU:

    ... spread --repeats 3 --warmup 0.1 --min-time 0.2 --max-time 1 --budget 80
    ... slowdown --warmup 0.1 --min-time 0.15 --max-time 0.6 --budget 80
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from orchestrator.compare import duel
from orchestrator.compare.comparison import Pair, Verdict, paired
from orchestrator.isolation.isolator import Isolator
from orchestrator.machine import environment, nvml
from orchestrator.outcome import Outcome
from orchestrator.record import TrialRecord
from orchestrator.results.rows import Row, row_of
from orchestrator.spec.models import MeasureProtocol, MeasureSpec, VerifySpec
from orchestrator.trial import Attempt, Resources, Trial

HERE = Path(__file__).resolve().parent
CASES = HERE / "stability_cases.py"
SHAPES = {
    "cuda": [
        (1024, "float32"),
        (2048, "float32"),
        (4096, "bfloat16"),
        (4096, "float32"),
        (8192, "bfloat16"),
    ],
    "cpu": [
        (256, "float32"),
        (512, "float32"),
        (384, "float32"),
        (768, "float32"),
        (640, "float32"),
    ],
}
SLOW = {"cuda": {"n": 4096, "batch": 1}, "cpu": {"n": 256, "batch": 20}}
SHARE = {"cuda": 0.02, "cpu": 0.20}
CHANGED = (Verdict.FASTER, Verdict.SLOWER)


@dataclass
class Bench:
    """Runs attempts in fresh processes; a new round has a new fork server, started while those
    before are at work.
    """

    device: str
    protocol: MeasureProtocol
    ends_at: float
    open: list[Isolator] = field(default_factory=list)

    def rounds(self, count: int) -> Iterator[tuple[int, Isolator]]:
        """(number from 1, isolator) until `count` or the budget is spent."""
        # none on a small machine: what starts there disturbs what is timed
        ahead = environment.usable_cores() // 4
        try:
            for number in range(1, count + 1):
                if time.monotonic() > self.ends_at:
                    return
                while len(self.open) < min(1 + ahead, count - number + 1):
                    self.open.append(self._isolator())
                yield number, self.open[0]
                self.open.pop(0).close()
        finally:
            for isolator in self.open:
                isolator.close()

    def _isolator(self) -> Isolator:
        gpu = os.environ.get("CUDA_VISIBLE_DEVICES", "0") if self.device == "cuda" else ""
        return Isolator(env={"CUDA_VISIBLE_DEVICES": gpu}, sys_path=[str(HERE.parent), *sys.path])

    def attempt(self, trial: Trial, number: int, rival: Trial | None = None) -> Attempt:
        """An attempt at `trial` in round `number`."""
        cuda = self.device == "cuda"
        return Attempt(
            sweep_id="stability",
            trial=trial,
            workload=f"{CASES}:workload",
            base_dir=str(HERE),
            device=self.device,
            seed=number,
            protocol=self.protocol,
            verify=VerifySpec(),
            resources=Resources(gpus=int(cuda), cpus=environment.usable_cores(), timeout_s=60.0),
            round=number,
            rival=rival,
        )


def case(name: str, label: str = "", share: float | None = None, **params: object) -> Trial:
    """A trial of one of the cases."""
    options = {} if share is None else {"share": share}
    full = {"batch": 1, "dtype": "float32", **params}
    return Trial.of(
        implementation=label or name, use=f"{CASES}:{name}", params=full, options=options
    )


def spread(options: argparse.Namespace, bench: Bench) -> list[str]:
    """The table of the first part."""
    shapes = SHAPES[bench.device]
    trials = [case("single", n=n, dtype=dtype) for n, dtype in shapes[: options.single]]
    trials += [case("launches", n=n, dtype=dtype) for n, dtype in shapes[: options.launches]]
    sweeps = [defaultdict[int, list[TrialRecord]](list) for _ in range(options.sweeps)]
    order = random.Random(options.seed)
    for number, isolator in bench.rounds(options.sweeps * options.repeats):
        number_of_sweep, this_round = divmod(number - 1, options.repeats)
        for index in order.sample(range(len(trials)), len(trials)):
            attempt = bench.attempt(trials[index], this_round + 1)
            record = isolator.run(
                attempt, target="benchmarks.stability_cases:seed_then_ours"
            ).record
            sweeps[number_of_sweep][index].append(_ok(record))
        print(f"sweep {number_of_sweep + 1}, round {this_round + 1}", file=sys.stderr, flush=True)
    whole = []
    for sweep in sweeps:
        records_by_trial = [sweep[index] for index in range(len(trials))]
        if set(map(len, records_by_trial)) == {options.repeats}:
            whole.append(records_by_trial)
    if len(whole) < 2:
        return [f"spread: only {len(whole)} of {options.sweeps} sweeps within the budget"]
    rows = []
    for records_by_trial in whole:
        pairs = zip(trials, records_by_trial, strict=True)
        rows.append([row_of(trial, records) for trial, records in pairs])
    lines = [
        "| row | median (ms) | CV of medians, 1 process | CV, all rounds | CV, the seed's protocol | interval (+-) "
        "| holds another's median | noisy |",
        "| :-- | --: | --: | --: | --: | --: | --: | --: |",
    ]
    lines += map(_spread_line, zip(*rows, strict=True))
    return [*lines, "", *_false_verdicts(rows, bench.device)]


def _ok(record: TrialRecord) -> TrialRecord:
    """The record; the benchmark ends with its reason where it has no figures: the others would have
    none either.
    """
    if record.outcome is not Outcome.OK:
        message = record.error.message if record.error else ""
        sys.exit(f"{record.implementation} {dict(record.params)}: {record.outcome} {message}")
    return record


def _spread_line(rows: Sequence[Row]) -> str:
    """One row of the table: the same trial in every sweep."""
    name = f"{rows[0].implementation} n={rows[0].params['n']} {rows[0].params['dtype']}"
    medians = [row.metrics["latency_ms"] or 0.0 for row in rows]
    alone = [statistics.median(row.rounds[0]) for row in rows]
    seeds = [(row.records[0].metrics or {})["seed_mean_ms"] or 0.0 for row in rows]
    widths = [_half_width(row) for row in rows]
    held, asked = _coverage(rows)
    noisy = sum("noisy" in row.flags for row in rows)
    cells = [
        f"{statistics.median(medians):.4g}",
        *(f"{100 * _cv(each):.2f} %" for each in (alone, medians, seeds)),
    ]
    cells += [
        f"{100 * statistics.median(widths):.2f} %",
        f"{held} of {asked}",
        f"{noisy} of {len(rows)}",
    ]
    return f"| {name} | {' | '.join(cells)} |"


def _cv(values: Sequence[float]) -> float:
    return statistics.stdev(values) / statistics.mean(values)


def _half_width(row: Row) -> float:
    low, high, middle = (
        row.metrics[f"latency_{name}ms"] or 0.0 for name in ("ci_low_", "ci_high_", "")
    )
    return (high - low) / 2 / middle


def _coverage(rows: Sequence[Row]) -> tuple[int, int]:
    """Of all ordered pairs of sweeps: how often the interval of one holds the median of the other."""
    pairs = [(one, other) for one in rows for other in rows if one is not other]
    held = [
        (one.metrics["latency_ci_low_ms"] or 0.0)
        <= (other.metrics["latency_ms"] or 0.0)
        <= (one.metrics["latency_ci_high_ms"] or 0.0)
        for one, other in pairs
    ]
    return sum(held), len(held)


def _false_verdicts(sweeps: Sequence[Sequence[Row]], device: str) -> list[str]:
    """`compare` of every sweep with every later one: any change it finds is false."""
    found: list[Pair] = []
    for index, base in enumerate(sweeps):
        for candidate in sweeps[index + 1 :]:
            found += paired(list(zip(base, candidate, strict=True)), device)
    counts = Counter(pair.verdict.value for pair in found)
    false = sum(pair.verdict in CHANGED for pair in found)
    held, asked = 0, 0
    for of_one_trial in zip(*sweeps, strict=True):
        one_held, one_asked = _coverage(of_one_trial)
        held += one_held
        asked += one_asked
    return [
        f"A/A: {len(found)} rows (every pair of {len(sweeps)} sweeps), {false} false verdicts; "
        + ", ".join(f"{count} {name}" for name, count in counts.items()),
        f"Intervals hold the median of another sweep {held} of {asked} times ({held / asked:.0%}); two medians that "
        "are equally uncertain: 83 %.",
    ]


def slowdown(options: argparse.Namespace, bench: Bench) -> list[str]:
    """The lines of the second part."""
    share = SHARE[bench.device] if options.share is None else options.share
    shape = SLOW[bench.device]
    plain, slow = case("slower", "plain", share=0.0, **shape), case("slower", share=share, **shape)
    by_duel = bench.device == "cuda" if options.by is None else options.by == "duel"
    pairs: list[Pair] = []
    records: tuple[list[TrialRecord], list[TrialRecord]] = ([], [])
    for number, isolator in bench.rounds(options.tries * options.repeats):
        this_round = (number - 1) % options.repeats + 1
        if by_duel:
            attempt = bench.attempt(plain, this_round, rival=slow)
            both = isolator.run(attempt).result.records
        else:
            both = tuple(
                isolator.run(bench.attempt(trial, this_round)).record for trial in (plain, slow)
            )
        for kept, record in zip(records, both, strict=True):
            kept.append(_ok(record))
        if this_round == options.repeats:
            base, candidate = row_of(plain, records[0]), row_of(slow, records[1])
            pairs.append(
                duel.pair(base, candidate, bench.device)
                if by_duel
                else _compared(base, candidate, bench)
            )
            records = ([], [])
    return _slowdown_lines(pairs, share, "compare --duel" if by_duel else "compare")


def _compared(base: Row, candidate: Row, bench: Bench) -> Pair:
    return paired([(base, candidate)], bench.device)[0]


def _slowdown_lines(pairs: Sequence[Pair], share: float, how: str) -> list[str]:
    found = sum(pair.verdict is Verdict.SLOWER for pair in pairs)
    lines = [f"A slow-down of {share:.0%} by {how}: found in {found} of {len(pairs)} tries.", ""]
    lines += [
        "| try | ratio [95 % interval] | counts from | verdict |",
        "| --: | :-- | --: | :-- |",
    ]
    for number, pair in enumerate(pairs, start=1):
        ratio = pair.ratio
        text = (
            pair.note
            if ratio is None
            else f"{ratio.value:.4f} [{ratio.ci_low:.4f}, {ratio.ci_high:.4f}]"
        )
        lines.append(f"| {number} | {text} | {100 * pair.threshold:.2g} % | {pair.verdict} |")
    return lines


PARTS = {"spread": spread, "slowdown": slowdown}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="spread|slowdown", help="default: both")
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), default="cuda" if nvml.count() else "cpu"
    )
    parser.add_argument("--single", type=int, default=3, help="rows of one kernel, at most 5")
    parser.add_argument(
        "--launches", type=int, default=2, help="rows of several launches, at most 5"
    )
    parser.add_argument("--sweeps", type=int, default=5)
    parser.add_argument("--tries", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=5, help="fresh processes a row")
    parser.add_argument(
        "--share", type=float, help="of the slow-down; default: 0.02 on a GPU, 0.20 on a CPU"
    )
    parser.add_argument(
        "--by", choices=("duel", "compare"), help="default: duel on a GPU, compare on a CPU"
    )
    parser.add_argument("--warmup", type=float, help="seconds; default: the protocol's")
    parser.add_argument("--min-time", type=float, help="seconds; default: the protocol's")
    parser.add_argument("--max-time", type=float, help="seconds; default: the protocol's")
    parser.add_argument("--budget", type=float, default=600.0, help="seconds a part")
    parser.add_argument("--seed", type=int, default=0, help="of the order within rounds")
    options = parser.parse_args()
    stated = {
        "warmup_s": options.warmup,
        "min_time_s": options.min_time,
        "max_time_s": options.max_time,
    }
    protocol = MeasureSpec(**stated, cold_cache=False).for_device(options.device)
    facts = environment.describe(options.device)["match"]
    print(
        f"{date.today()}, {facts['model']}, torch {facts['torch']}, {options.repeats} processes a row, {protocol}"
    )
    for part in options.parts or PARTS:
        began = time.monotonic()
        bench = Bench(options.device, protocol, began + options.budget)
        print(f"\n## {part}\n", *PARTS[part](options, bench), sep="\n")
        print(f"\n({time.monotonic() - began:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
