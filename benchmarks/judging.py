"""How often the rule of verification refuses what is right and passes what is wrong.

    python -m benchmarks.judging [--seeds 10] [--first-seed 0] [--only WORDS] [--worker] [--verbose]

Each case of `judging_corpus` is tried in each of its dtypes with fresh inputs per seed, on the
workload's own inputs and on those with structure. By default the rule alone judges, which is quick;
with `--worker` each implementation is a trial that `run_attempt` builds, times and judges, as it
does in a sweep's process. Printed are false refusals and missed faults, each kind by name. The part
for a GPU is `benchmarks.judging_gpu`.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmarks.judging_corpus.as_workload import CASES, cast, dtype_of
from benchmarks.judging_corpus.case import Case, Implementation, Tensors
from benchmarks.judging_corpus.trials import judged
from orchestrator.verify.rule.judgement import Judgement
from orchestrator.verify.rule.output_rows import whole_answer
from orchestrator.verify.rule.reference import Reference
from orchestrator.verify.rule.structured import FINITE_ONLY, STRUCTURES, is_comparable, structured
from orchestrator.workload import Config, Problem

WORKLOAD = Path(__file__).with_name("judging_corpus") / "as_workload.py"


@dataclass
class Counts:
    """What was tried of one kind, what of it went wrong, and what ended without being judged."""

    runs: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    broken: Counter[str] = field(default_factory=Counter)


def main() -> None:
    """Run the corpus and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--only", default="")
    parser.add_argument("--worker", action="store_true", help="each by the worker, as in a sweep")
    parser.add_argument("--verbose", action="store_true")
    given = parser.parse_args()
    right, wrong = Counts(), Counts()
    start = time.perf_counter()
    for case in CASES:
        if given.only not in case.name:
            continue
        for precision in case.dtypes:
            for seed in range(given.first_seed, given.first_seed + given.seeds):
                attempt = _by_worker if given.worker else _by_rule
                attempt(case, precision, seed, right, wrong, given.verbose)
    implementations = sum(len(case.right) for case in CASES), sum(len(case.wrong) for case in CASES)
    print(
        f"{len(CASES)} cases, {implementations[0]} right and {implementations[1]} wrong implementations"
    )
    print(f"right ones refused: {sum(right.failures.values())} of {right.runs}")
    _list(right)
    print(f"faults missed: {sum(wrong.failures.values())} of {wrong.runs}")
    _list(wrong)
    if wrong.broken:
        print(f"faults that ended without being judged, caught by nobody: {dict(wrong.broken)}")
    print(f"{time.perf_counter() - start:.0f} s")


def _list(counts: Counts) -> None:
    for name, count in counts.failures.most_common():
        print(f"  {count:4d}  {name}")


def _by_worker(
    case: Case, precision: str, seed: int, right: Counts, wrong: Counts, verbose: bool
) -> None:
    """All implementations of a case as trials of one seed."""
    for counts, group in ((right, "right"), (wrong, "wrong")):
        for name in getattr(case, group):
            params = {"case": case.name, "precision": precision}
            found = judged(WORKLOAD, "build", params, {"group": group, "name": name}, "cpu", seed)
            counts.runs += 1
            label = f"{case.name} [{precision}]: {name}"
            kind = found.kind(group == "right")
            if kind == "broken":
                counts.broken[label] += 1
            elif kind != "as it should be":
                counts.failures[label] += 1
            if verbose or kind != "as it should be":
                print(f"{label} (seed {seed}): {found.outcome} {found.reason[:230]}", flush=True)
            if found.unproven and group == "right":
                counts.failures[f"{label}, flagged unproven"] += 1


def _by_rule(
    case: Case, precision: str, seed: int, right: Counts, wrong: Counts, verbose: bool
) -> None:
    """All implementations of a case by the rule alone, on the inputs of one seed."""
    trials = list(_references(case, precision, seed))
    for counts, implementations in ((right, case.right), (wrong, case.wrong)):
        for name, implementation in implementations.items():
            complaint, share = _complaint(implementation, trials)
            counts.runs += 1
            label = f"{case.name} [{precision}]: {name}"
            if bool(complaint) == (counts is right):
                counts.failures[label] += 1
            if verbose:
                print(f"{label} (seed {seed}): {share:.2f} {complaint[:230]}", flush=True)


def _complaint(
    implementation: Implementation, trials: list[tuple[str, Tensors, Reference]]
) -> tuple[str, float]:
    """Why it is refused, "" where it is not; and the largest share of a limit on its own inputs."""
    share = 0.0
    for kind, inputs, reference in trials:
        try:
            outputs = _named(implementation(*(tensor.clone() for tensor in inputs)))
        except torch.linalg.LinAlgError:
            if not kind:
                raise
            continue  # a worker asks for nothing there, either: the matrix is singular
        verdict: Judgement
        if not kind:
            verdict = reference.judge(outputs)
            share = verdict.share
            if verdict.ok and share > 0.6:
                print("   ", verdict.place)
        else:
            verdict = reference.judge_structured(outputs, finite_only=kind in FINITE_ONLY)
        if not verdict.ok:
            return f"{kind or 'own inputs'}: {verdict}", share
    return "", share


def _references(case: Case, precision: str, seed: int) -> Iterator[tuple[str, Tensors, Reference]]:
    """The workload's own inputs, then those with structure that it allows."""
    dtype = dtype_of(precision)
    own = tuple(cast(tensor, dtype) for tensor in case.inputs(torch.Generator().manual_seed(seed)))
    first = _reference(case, precision, own, seed)
    yield "", own, first
    out_dtype = {
        name: tensor.dtype for name, tensor in _named(next(iter(case.right.values()))(*own)).items()
    }
    for kind in STRUCTURES:
        inputs = structured(kind, own)
        if inputs is None:
            continue
        try:
            reference = _reference(case, precision, inputs, seed, own_inputs=False)
        except RuntimeError:  # a singular matrix, say
            continue
        if all(
            is_comparable(kind, reference.expected[name].values, one.values, out_dtype[name])
            for name, one in first.expected.items()
        ):
            yield kind, inputs, reference


def _reference(
    case: Case, precision: str, inputs: Tensors, seed: int, *, own_inputs: bool = True
) -> Reference:
    def compute(problem: Problem) -> Mapping[str, Any]:
        wide = (cast(tensor, problem.dtype) for tensor in problem.inputs)
        return {name: whole_answer(one) for name, one in _named(case.reference(*wide)).items()}

    problem = Problem(Config({}, "cpu"), "default", inputs, {}, torch.float64, float("inf"), seed)
    return Reference(compute, problem, precision, 1000 * seed, own_inputs=own_inputs)


def _named(found: Any) -> dict[str, torch.Tensor]:
    return found if isinstance(found, dict) else {"output": found}


if __name__ == "__main__":
    main()
