"""`orchestrator profile`: which kernels the rows of a finished sweep run, and a trace of each.

Each row is built, called and verified again, one after the other, each in a fresh process without
Ray; nothing that was measured changes.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from orchestrator.cli.profiling import counters
from orchestrator.cli.try_target import attempt_of
from orchestrator.errors import RequestError
from orchestrator.formatting import printable
from orchestrator.plan.sweep import Sweep
from orchestrator.record import KernelShare
from orchestrator.results import profiles
from orchestrator.results.profiles import Profile
from orchestrator.results.results import Results
from orchestrator.trial import Attempt, Trial

ROW = "orchestrator.cli.profiling.row"
RANGE = "profiled"
SHOWN = 8  # kernels of a row that are printed
TRACE_HINT = "open a trace in https://ui.perfetto.dev or chrome://tracing"


def select(results: Results, only: str | None) -> list[Trial]:
    """The rows that are ok, of those for which the expression holds.

    Raises:
        RequestError: there are none, or their trials ran over ranks.
    """
    meta = results.meta
    planned = Sweep.resolved(meta.spec, meta.base_dir, only, str(results.directory))
    ok = {row.trial_id for row in results.rows if row.ok}
    chosen = [trial for trial in planned.trials if trial.trial_id in ok]
    if not chosen:
        raise RequestError(
            f"nothing to profile: none of the {len(planned.trials)} selected rows is ok"
        )
    ranks = planned.resources(chosen[0], meta.device).ranks
    if ranks > 1:
        raise RequestError(
            f"profile runs a row in one process, and those of this sweep have {ranks} ranks: "
            "use `run --profile`"
        )
    return chosen


def profile(
    results: Results, only: str | None, say: Callable[[str], None] = print
) -> Iterator[Profile]:
    """Profile the selected rows; each profile is kept with the sweep before the next begins.

    Raises:
        RequestError: there is nothing to profile.
    """
    directory = results.directory
    if directory is None:
        raise RequestError("these results lie in no directory, which is where profiles are kept")
    meta = results.meta
    planned = Sweep.resolved(meta.spec, meta.base_dir, only, str(directory))
    (directory / profiles.FOLDER).mkdir(exist_ok=True)
    for trial in select(results, only):
        attempt = attempt_of(planned, trial, meta.device)
        trace = (directory / profiles.trace_of(trial.trial_id)).absolute()
        found = _profiled(attempt.model_copy(update={"trace": str(trace)}))
        if trace.is_file():
            found = found.model_copy(update={"trace": profiles.trace_of(trial.trial_id)})
        profiles.append(directory, found)
        say(as_text(trial, found, directory))
        yield found


def as_text(trial: Trial, found: Profile, directory: Path) -> str:
    """The row, its kernels with shares and counts, and where the trace is."""
    point = " ".join(f"{name}={value}" for name, value in trial.params.items())
    lines = [printable(f"{trial.implementation} {point}")]
    for one in found.kernels[:SHOWN]:
        values = ", ".join(_counter(name, value) for name, value in one.counters.items())
        beside = f"  [{values}]" if values else ""
        lines.append(f"  {one.share:6.1%}  {one.count:4} x  {printable(one.name)}{beside}")
    more = len(found.kernels) - SHOWN
    lines += [f"  and {more} more"] if more > 0 else []
    lines += [f"  trace: {directory / found.trace}"] if found.trace else []
    return "\n".join([*lines, *(f"  note: {printable(note)}" for note in found.notes)])


def _counter(name: str, value: float) -> str:
    label = name.removesuffix("_share").removesuffix("_gb_per_s").replace("_", " ")
    return f"{label} {value:.0f} GB/s" if name.endswith("_gb_per_s") else f"{label} {value:.0%}"


def _profiled(attempt: Attempt) -> Profile:
    """The kernels of one row, with counters on a GPU with Nsight Compute."""
    trial_id = attempt.trial.trial_id
    answer = _answer([sys.executable, "-m", ROW, "trace"], attempt)
    if "error" in answer:
        return Profile(trial_id=trial_id, notes=(f"it is not ok now: {answer['error']}",))
    kernels = tuple(KernelShare.model_validate(one) for one in answer["kernels"])
    ncu = shutil.which("ncu")
    if ncu is None or not attempt.device.startswith("cuda"):
        return Profile(trial_id=trial_id, kernels=kernels)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "counters.csv"
        program = [sys.executable, "-m", ROW, "call"]
        _answer(counters.command(ncu, str(file), RANGE, program), attempt)
        text = file.read_text(errors="replace") if file.is_file() else ""
    found = counters.read(text)
    if found:
        return Profile(trial_id=trial_id, kernels=counters.with_counters(kernels, found))
    said = next((line for line in text.splitlines() if "ERR" in line), "it wrote none")
    return Profile(trial_id=trial_id, kernels=kernels, notes=(f"no counters from ncu: {said}",))


def _answer(command: list[str], attempt: Attempt) -> dict[str, Any]:
    """What the process says in its last line; an error where it ended without."""
    limit_s = attempt.resources.timeout_s
    try:
        done = subprocess.run(
            command, input=attempt.model_dump_json(), capture_output=True, text=True,
            timeout=limit_s, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return {"error": f"timeout: longer than resources.timeout_s, {limit_s:g} s"}
    lines = done.stdout.strip().splitlines()
    if done.returncode == 0 and lines and lines[-1].startswith("{"):
        return dict(json.loads(lines[-1]))
    last = (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1]
    return {"error": f"crashed: {last}"}
