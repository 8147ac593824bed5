"""`orchestrator try`: right or wrong, and one time, within seconds: in this process, without
isolation, Ray or MLflow.

What runs is what a sweep's worker runs, so that a row of a sweep can be seen to fail under a
debugger or a profiler:
`python -m pdb -m orchestrator try ...`, `ncu orchestrator try ... --check`, a `breakpoint()` in the
code itself.
"""

from __future__ import annotations

import re
import shlex
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

from orchestrator.formatting import counted, interval, number, printable
from orchestrator.outcome import Outcome, Phase
from orchestrator.record import ErrorInfo
from orchestrator.report.reasons import message
from orchestrator.results.rows import latency
from orchestrator.trial import Attempt

if TYPE_CHECKING:
    import torch

    from orchestrator.cli.trying.try_target import Selection
    from orchestrator.worker.stages import Stages
    from orchestrator.worker.trial_end import TrialEnd

AFTER_VERIFICATION = (Phase.WARM_UP, Phase.MEASURE, Phase.MEMORY)
ON_STRUCTURE = re.compile(r"^on \w+ inputs: ")  # how the verdict on inputs with structure begins
OUTSIDE = (
    "  its outputs are right on the workload's own inputs; if its domain excludes such ones state "
    "`stress`, the kinds that it has, in the workload"
)


@dataclass(frozen=True)
class Tried:
    """How one trial went.

    Attributes:
        outcome: as of a sweep's row.
        lines: what to print.
    """

    outcome: Outcome
    lines: tuple[str, ...]


def run(attempt: Attempt, *, check: bool = False, debug: bool = False) -> Tried:
    """Build, call, verify and (unless `check`) time one attempt in this process.

    Args:
        attempt: what to try.
        check: leave the timing out.
        debug: open pdb where the implementation raised.
    """
    from orchestrator.usercode.implementation import AttemptEndedError
    from orchestrator.worker.stages import Stages

    phase = [Phase.BUILD]
    stages = Stages(attempt, phase.append, counts_flops=False)
    began = perf_counter()
    try:
        stages.ready()
        error, explained = stages.before.error, stages.before.explained
        lines = [f"✓ right: relative error {error:.1e}, rounding explains {explained:.0e}"]
        if check:
            lines += _first_call(stages)
            lines.append(f"  in {perf_counter() - began:.1f} s, not timed")
        else:
            end = stages.measured_alone()
            lines += _timed(end, stages)
        return Tried(Outcome.OK, tuple(lines))
    except AttemptEndedError as ended:
        cause = ended.__cause__
        said = message(ErrorInfo.of(ended.kind, ended.message), ended.outcome)
        lines = [f"✗ {ended.outcome}: {said}", f"  in phase {phase[-1].replace('_', ' ')}"]
        if cause is not None and debug:
            _post_mortem(cause)
        elif ended.outcome is Outcome.FAILED and (faults := workload_faults(stages)):
            return Tried(ended.outcome, tuple(faults))
        elif cause is not None:
            lines = [*"".join(traceback.format_exception(cause)).rstrip().splitlines(), *lines]
        elif ended.outcome is Outcome.MISMATCH and phase[-1] in AFTER_VERIFICATION:
            lines.append("  its outputs were right before it was timed")
        elif ended.outcome is Outcome.MISMATCH and ON_STRUCTURE.search(ended.message):
            lines.append(OUTSIDE)
        elif ended.outcome is Outcome.MISMATCH and hasattr(stages, "verifier"):
            lines += first_wrong(stages)
        return Tried(ended.outcome, tuple(lines))
    except Exception as error:  # of the workload: what an implementation raises is caught above
        if debug:
            _post_mortem(error)
        faults = workload_faults(stages)
        if not faults:
            raise
        shown = traceback.format_exception(error)
        return Tried(Outcome.FAILED, (*"".join(shown).rstrip().splitlines(), *faults))


def workload_faults(stages: Stages) -> list[str]:
    """What is wrong with the workload itself, for which no implementation is to be blamed."""
    from orchestrator.usercode.workload_check import problems

    attempt = stages.attempt
    if not hasattr(stages, "params"):  # it was not even imported
        return []
    found = problems(stages.workload, stages.params, attempt.device)
    return [f"✗ workload {attempt.workload}: {text}" for text in found]


def first_wrong(stages: Stages) -> list[str]:
    """The first wrong elements beside the right ones, on the inputs of the first verification."""
    import torch

    from orchestrator.cli.trying.wrong_elements import outputs_of, wrong_elements
    from orchestrator.verify.inputs import copied
    from orchestrator.verify.rule.precisions import usual_error
    from orchestrator.verify.torch_settings import own_settings
    from orchestrator.workload import Problem

    attempt, workload, config = stages.attempt, stages.workload, stages.config
    subject = stages.subject
    inputs = stages.caller.inputs("before")
    pristine = tuple(one.detach() for one in copied(inputs))
    subject.prepare(inputs)
    outputs = outputs_of(subject.call(inputs), subject, workload, inputs)
    state: Mapping[str, torch.Tensor] = {}
    with own_settings(), torch.no_grad():
        if workload.state is not None:
            state = workload.state(config, subject.form, stages.caller.state_seed)
        limit = attempt.verify.max_reference_flops or 1e12
        problem = Problem(config, subject.form, pristine, state, torch.float64, limit, attempt.seed)
        answer = workload.reference(problem)
    allowed = attempt.verify.tolerance or usual_error(workload.precision(stages.params))
    return wrong_elements(outputs, answer, allowed)


def describe(attempt: Attempt) -> str:
    """`improved on cpu, batch=1 seq_len=512 heads=8 ...`: every param, as those that nobody gave
    count, too.
    """
    trial = attempt.trial
    values = dict(trial.params)
    for name, value in trial.options.items():
        values[f"options.{name}"] = value
    named = []
    for name, value in values.items():
        text = shlex.quote(value) if isinstance(value, str) else str(value).replace(" ", "")
        named.append(f"{name}={text}")
    point = " ".join(named)
    return f"{printable(trial.implementation)} on {attempt.device}, {printable(point)}"


def main(selection: Selection, *, check: bool, debug: bool) -> int:
    """Try each, print how it went; 0: all are ok."""
    print("in this process, without isolation: a crash ends this command, too", file=sys.stderr)
    if selection.note:
        print(selection.note, file=sys.stderr)
    bad = 0
    for attempt in selection.attempts:
        print(describe(attempt), flush=True)
        tried = run(attempt, check=check, debug=debug)
        print("\n".join(tried.lines), flush=True)
        bad += tried.outcome is not Outcome.OK
    if selection.left_out:
        print(
            f"and {counted(selection.left_out, 'more trial')} selected: narrow them with --only",
            file=sys.stderr,
        )
    return 1 if bad else 0


def _timed(end: TrialEnd, stages: Stages) -> list[str]:
    metrics = end.metrics or {}
    time = f"{interval(*latency(metrics))} ms"
    if end.flags:
        time += f" ({', '.join(end.flags)})"
    rates = [f"{number(metrics.get('gb_per_s'), 1)} GB/s"]
    if metrics.get("tflops_per_s"):  # none: nobody stated the work, and here it is not counted
        rates.insert(0, f"{number(metrics['tflops_per_s'], 3)} TFLOP/s")
    memory = metrics.get("peak_memory_mib")
    if memory is not None:
        rates.append(f"{number(memory)} MiB")
    lines = [f"  {time}, {', '.join(rates)}"]
    lines += _first_call(stages)
    for note in end.notes:
        lines.append(f"  note: {printable(note)}")
    return lines


def _first_call(stages: Stages) -> list[str]:
    return [f"  the first call took {number(stages.figures.get('first_call_ms'))} ms"]


def _post_mortem(error: BaseException) -> None:
    import pdb

    traceback.print_exception(error)
    pdb.post_mortem(error.__traceback__)
