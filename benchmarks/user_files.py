"""What the forms that users write cost: a workload as a file beside a hand-written one, and a folder
of fifty problems.

    python benchmarks/user_files.py forms            # seconds a trial of either form, and the ratio
    python benchmarks/user_files.py folder           # a sweep over 50 problems and 2 implementations

`forms`: trials of `x + 1` in both forms take turns, each in a process of its own by the product's
isolator; the ratio of the medians. `folder`: the seconds of the sweep after
its first trial has begun, beside 1.3 times the seconds in which its trials were timed plus 0.3 s a
trial.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from orchestrator.isolation.isolator import Isolator
from orchestrator.results import sweep_directory
from orchestrator.spec.models import MeasureSpec, VerifySpec
from orchestrator.trial import Attempt, Resources, Trial

FUNCTIONS = """
import torch

columns = {"number": "Number"}


def inputs(number: int):
    return torch.randn(256, 256)


def reference(x):
    return x + 1


def work(number):
    return {"flops": 65536, "bytes": 524288}


def plus_one(x):
    return x + 1
"""

BY_HAND = """
import torch
from pydantic import BaseModel, ConfigDict

from orchestrator.workload import Work, Workload


class Params(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    number: int


def inputs(config, _form, seed):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(256, 256, generator=generator).to(config.device),)


def reference(problem):
    return problem.inputs[0].to(problem.dtype) + 1


def build(config):
    return lambda x: x + 1


WORKLOAD = Workload(
    name="plus", params=Params, inputs=inputs, reference=reference,
    work=lambda _params, _form: Work(flops=65536, bytes=524288),
)
"""

PROBLEM = """
import torch


class Model(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.linear = torch.nn.Linear(width, width)

    def forward(self, x):
        return torch.relu(self.linear(x)) * {number}


def get_inputs():
    return [torch.randn(64, 128)]


def get_init_inputs():
    return [128]
"""


def attempt(folder: Path, form: str, number: int) -> Attempt:
    """One trial of a form; the times of a trial that nobody waits for."""
    file, use, workload = {
        "functions": ("functions.py", "plus_one", "./functions.py"),
        "by hand": ("by_hand.py", "build", "./by_hand.py:WORKLOAD"),
    }[form]
    protocol = MeasureSpec(max_time_s=0.2, min_time_s=0.1, warmup_s=0.0).for_device("cpu")
    trial = Trial.of(
        implementation=form, use=f"./{file}:{use}", params={"number": number}, options={}
    )
    return Attempt(
        sweep_id="benchmark", trial=trial, workload=workload, base_dir=str(folder), device="cpu",
        seed=number, protocol=protocol, verify=VerifySpec(), resources=Resources(),
    )  # fmt: skip


def forms(trials: int) -> None:
    """Prints seconds a trial of either form."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "functions.py").write_text(FUNCTIONS)
        (folder / "by_hand.py").write_text(BY_HAND)
        found: dict[str, list[float]] = {"functions": [], "by hand": []}
        with Isolator() as isolator:
            for number in range(trials + 2):
                for form, known in found.items():
                    wall = time.perf_counter()
                    done = isolator.run(attempt(folder, form, number))
                    wall = time.perf_counter() - wall
                    assert done.record.outcome == "ok", done.record.error
                    if number >= 2:  # the first of each fill caches
                        known.append(wall)
    middle = {form: statistics.median(known) for form, known in found.items()}
    for form, seconds in middle.items():
        print(f"{form:>10}: {seconds:.3f} s a trial")
    ratio = middle["functions"] / middle["by hand"]
    print(f"ratio {ratio:.3f}, {trials} trials of each in turns")


def folder_of_problems(problems: int) -> None:
    """Prints how long a sweep over a folder takes beside what it may."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for place in (folder, folder / "answers"):
            place.mkdir(exist_ok=True)
        for number in range(1, problems + 1):
            text = PROBLEM.format(number=number)
            (folder / f"{number}_scaled.py").write_text(text)
            (folder / "answers" / f"{number}_scaled.py").write_text(
                text.replace("Model(", "ModelNew(")
            )
        sweep = {
            "name": "folder",
            "workload": f"kernelbench:{folder}",
            "implementations": [
                {"use": f"kernelbench:{folder}", "label": "model"},
                {"use": f"kernelbench:{folder}/answers", "label": "answers"},
            ],
            "axes": {"problem": [f"{number}_scaled" for number in range(1, problems + 1)]},
            "measure": {"max_time_s": 0.5, "remeasure": 0},
        }
        (folder / "sweep.yaml").write_text(json.dumps(sweep))
        began = time.perf_counter()
        line = [sys.executable, "-m", "orchestrator", str(folder / "sweep.yaml"), "--quiet",
                "--output", str(folder / "out")]  # fmt: skip
        done = subprocess.run(line, capture_output=True, text=True, cwd=folder, check=False)
        wall = time.perf_counter() - began
        print("\n".join(done.stdout.splitlines()[-12:]), done.stderr[-2000:], sep="\n")
        results = sweep_directory.load(folder / "out")
        records = results.records
        timed = sum((one.phase_s or {}).get("measure", 0.0) for one in records)
        ok = sum(one.outcome == "ok" for one in records)
        allowed = 1.3 * timed + 0.3 * len(records)
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        print(
            f"{ok} of {len(records)} trials ok in {wall:.1f} s with the start; timed {timed:.1f} s; "
            f"allowed {allowed:.1f} s; CPU {used.ru_utime + used.ru_stime:.1f} s"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("forms", "folder"))
    parser.add_argument("--count", type=int)
    options = parser.parse_args()
    if options.what == "forms":
        forms(options.count or 40)
    else:
        folder_of_problems(options.count or 50)
