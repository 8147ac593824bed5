"""How often the rule of verification refuses what is right and passes what is wrong.

    python benchmarks/judging.py [--seeds 10] [--first-seed 0] [--only WORDS] [--verbose]

Each case of `judging_corpus` is tried in each of its dtypes with fresh inputs per seed, on the
workload's own inputs and on those with structure. Printed are false refusals and missed faults,
each kind by name.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from benchmarks.judging_corpus import elementwise, integers, products
from benchmarks.judging_corpus.case import Case, Implementation, Tensors
from orchestrator.verify.rule.judgement import Judgement, Reference
from orchestrator.verify.rule.output_rows import whole_answer
from orchestrator.verify.rule.structured import FINITE_ONLY, STRUCTURES, is_comparable, structured
from orchestrator.workload import Config, Problem

CASES = (*elementwise.CASES, *products.CASES, *integers.CASES)


@dataclass
class Counts:
    """What was tried of one kind, and what of it went wrong."""

    runs: int = 0
    failures: Counter[str] = field(default_factory=Counter)


def main() -> None:
    """Run the corpus and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--only", default="")
    parser.add_argument("--verbose", action="store_true")
    given = parser.parse_args()
    right, wrong = Counts(), Counts()
    start = time.perf_counter()
    for case in CASES:
        if given.only not in case.name:
            continue
        for precision in case.dtypes:
            for seed in range(given.first_seed, given.first_seed + given.seeds):
                _try(case, precision, seed, right, wrong, given.verbose)
    implementations = sum(len(case.right) for case in CASES), sum(len(case.wrong) for case in CASES)
    print(
        f"{len(CASES)} cases, {implementations[0]} right and {implementations[1]} wrong implementations"
    )
    print(f"right ones refused: {sum(right.failures.values())} of {right.runs}")
    _list(right)
    print(f"faults missed: {sum(wrong.failures.values())} of {wrong.runs}")
    _list(wrong)
    print(f"{time.perf_counter() - start:.0f} s")


def _list(counts: Counts) -> None:
    for name, count in counts.failures.most_common():
        print(f"  {count:4d}  {name}")


def _try(
    case: Case, precision: str, seed: int, right: Counts, wrong: Counts, verbose: bool
) -> None:
    """All implementations of a case on the inputs of one seed."""
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
        outputs = _named(implementation(*(tensor.clone() for tensor in inputs)))
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
    dtype = torch.float32 if precision == "tf32" else getattr(torch, precision)
    own = tuple(_cast(tensor, dtype) for tensor in case.inputs(torch.Generator().manual_seed(seed)))
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
        wide = (
            _cast(tensor, torch.float64) if not _is_eight_bit(tensor) else tensor
            for tensor in problem.inputs
        )
        return {name: whole_answer(one) for name, one in _named(case.reference(*wide)).items()}

    problem = Problem(Config({}, "cpu"), "default", inputs, {}, torch.float64, float("inf"), seed)
    return Reference(compute, problem, precision, 1000 * seed, own_inputs=own_inputs)


def _is_eight_bit(tensor: torch.Tensor) -> bool:
    return tensor.is_floating_point() and tensor.dtype.itemsize == 1


def _cast(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    if tensor.is_complex():
        return tensor.to(torch.complex128 if dtype is torch.float64 else torch.complex64)
    return tensor.to(dtype) if tensor.is_floating_point() and tensor.dtype.itemsize > 1 else tensor


def _named(found: Any) -> dict[str, torch.Tensor]:
    return found if isinstance(found, dict) else {"output": found}


if __name__ == "__main__":
    main()
