"""`orchestrator profile`: which kernels the rows of a finished sweep run, and a trace of each.

Each row is built, called and verified again, one after the other, each in a fresh process without
Ray; nothing that was measured changes.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from orchestrator.cli.profiling import counters
from orchestrator.cli.profiling.row import Traced
from orchestrator.cli.trying.try_target import attempt_of
from orchestrator.errors import RequestError
from orchestrator.formatting import printable
from orchestrator.isolation.isolator import Isolator
from orchestrator.isolation.process_end import Cause
from orchestrator.isolation.request import Call
from orchestrator.plan.sweep import Sweep
from orchestrator.record import utc_now
from orchestrator.results import profiles, sweep_directory
from orchestrator.results.profiles import Profile
from orchestrator.results.results import Results
from orchestrator.trial import Attempt, Trial
from orchestrator.util import subprocesses

ROW = "orchestrator.cli.profiling.row"
SHOWN = 8  # kernels of a row that are printed
TRACE_HINT = "open a trace in https://ui.perfetto.dev or chrome://tracing"


def expanded(results: Results, only: str | None) -> Sweep:
    """The sweep, narrowed to the trials for which the expression holds.

    Raises:
        RequestError: it was run elsewhere, or the results lie in no directory.
    """
    if results.directory is None:
        raise RequestError("these results lie in no directory, which is where profiles are kept")
    if sweep_directory.is_imported(results.directory):
        raise RequestError(
            f"{results.directory} was run elsewhere and imported: profile it where it was run"
        )
    return Sweep.resolved(results.meta.spec, results.meta.base_dir, only, str(results.directory))


def select(results: Results, planned: Sweep) -> list[Trial]:
    """The trials of the sweep whose rows are ok.

    Raises:
        RequestError: there are none, or some of them run over ranks.
    """
    ok = {row.trial_id for row in results.rows if row.ok}
    chosen = [trial for trial in planned.trials if trial.trial_id in ok]
    if not chosen:
        raise RequestError(
            f"nothing to profile: none of the {len(planned.trials)} selected rows is ok"
        )
    ranks = max(planned.resources(trial, results.meta.device).ranks for trial in chosen)
    if ranks > 1:
        raise RequestError(
            f"profile runs a row in one process, and rows of this sweep have {ranks} ranks: "
            "leave those out with --only, or use `run --profile`"
        )
    return chosen


def profile(
    results: Results, only: str | None, say: Callable[[str], None] = print
) -> Iterator[Profile]:
    """Profile the selected rows; each profile is kept with the sweep before the next begins.

    Raises:
        RequestError: there is nothing to profile.
    """
    planned = expanded(results, only)
    directory = Path(results.directory or "")
    folder = directory / profiles.FOLDER
    trials = select(results, planned)
    folder.mkdir(exist_ok=True)
    with Isolator() as isolator:
        for trial in trials:
            attempt = attempt_of(planned, trial, results.meta.device)
            # A trace counts only when its profile is whole: until then the earlier one stays.
            with tempfile.TemporaryDirectory(prefix=".", dir=folder.absolute()) as beside:
                trace = Path(beside, "trace.json.gz")
                found = _profiled(isolator, attempt.model_copy(update={"trace": str(trace)}))
                if not found.error:
                    found = _with_trace(found, trace, directory)
            profiles.append(directory, found)
            say(as_text(trial, found, directory))
            yield found


def _with_trace(found: Profile, trace: Path, directory: Path) -> Profile:
    """The profile with its trace in the sweep's directory, in place of an earlier one."""
    name = profiles.trace_of(found.trial_id)
    if not trace.is_file():
        (directory / name).unlink(missing_ok=True)
        return found
    trace.replace(directory / name)
    return found.model_copy(update={"trace": name})


def as_text(trial: Trial, found: Profile, directory: Path) -> str:
    """The row, its kernels with shares and counts, and where the trace is."""
    point = " ".join(f"{name}={value}" for name, value in trial.params.items())
    lines = [printable(f"{trial.implementation} {point}")]
    for one in found.kernels[:SHOWN]:
        values = ", ".join(_counter(name, value) for name, value in one.counters.items())
        beside = f"  [{values}]" if values else ""
        lines.append(f"  {one.share:6.1%}  {one.count:4} x  {printable(one.name)}{beside}")
    more = len(found.kernels) - SHOWN
    if more > 0:
        lines.append(f"  and {more} more")
    if found.trace:
        lines.append(f"  trace: {directory / found.trace}")
    if found.error:
        lines.append(
            f"  not profiled: {printable(found.error)}; "
            "an earlier profile of it, if any, still counts"
        )
    lines += [f"  note: {printable(note)}" for note in found.notes]
    return "\n".join(lines)


def _counter(name: str, value: float) -> str:
    label = name.removesuffix("_share").removesuffix("_gb_per_s").replace("_", " ")
    if name.endswith("_gb_per_s"):
        return f"{label} {value:.0f} GB/s"
    return f"{label} {value:.0%}"


def _profiled(isolator: Isolator, attempt: Attempt) -> Profile:
    """The kernels of one row, with counters on a GPU with Nsight Compute."""
    at = utc_now()
    trial_id = attempt.trial.trial_id
    call = Call(f"{ROW}:trace", attempt, Traced, attempt.device, attempt.resources)
    answer = isolator.call(call)
    if isinstance(answer, Cause):
        return Profile(trial_id=trial_id, error=f"{answer.outcome}: {answer.message}", at=at)
    if answer.error:
        return Profile(trial_id=trial_id, error=answer.error, at=at)
    found = Profile(trial_id=trial_id, kernels=answer.kernels, at=at)
    ncu = shutil.which("ncu")
    if ncu is None or not attempt.device.startswith("cuda"):
        return found
    values, why = _counted(ncu, attempt)
    if values:
        kernels = counters.with_counters(found.kernels, values)
        return found.model_copy(update={"kernels": kernels})
    return found.model_copy(update={"notes": (f"no counters from ncu: {why}",)})


def _counted(ncu: str, attempt: Attempt) -> tuple[dict[str, dict[str, float]], str]:
    """Kernel -> counters, as Nsight Compute reads them; without any, why."""
    limit_s = attempt.resources.timeout_s
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "counters.csv"
        program = [sys.executable, "-m", ROW]
        line = counters.command(ncu, str(file), counters.RANGE, program)
        try:
            done = subprocesses.run(line, attempt.model_dump_json(), limit_s)
        except subprocess.TimeoutExpired:
            return {}, f"longer than resources.timeout_s, {limit_s:g} s"
        text = file.read_text(errors="replace") if file.is_file() else ""
    said = [one for one in text.splitlines() if "ERR" in one]
    if done.returncode:
        said += done.stderr.strip().splitlines()[-1:]
    return counters.read(text), said[0] if said else "it wrote none"
