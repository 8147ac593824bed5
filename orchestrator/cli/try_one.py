"""`orchestrator try`: right or wrong, and one time, within seconds: in this process, without isolation, Ray or MLflow.

What runs is what a sweep's worker runs, so that a row of a sweep can be seen to fail under a debugger or a profiler:
`python -m pdb -m orchestrator try ...`, `ncu orchestrator try ... --check`, a `breakpoint()` in the code itself.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from orchestrator.errors import RequestError
from orchestrator.formatting import counted, interval, number, printable
from orchestrator.outcome import Outcome, Phase
from orchestrator.record import ErrorInfo
from orchestrator.report.reasons import message
from orchestrator.results import lookup
from orchestrator.results.sweep_directory import load
from orchestrator.spec import document
from orchestrator.spec.models import default_label
from orchestrator.trial import Attempt, Trial

if TYPE_CHECKING:
    from orchestrator.plan.sweep import Sweep
    from orchestrator.worker.stages import Stages

MOST = 8  # trials of one call
BRIEF: dict[str, Any] = {
    "warmup_s": 0.05, "min_time_s": 0.2, "max_time_s": 1.0, "min_repetitions": 5, "target_ci": 0.02
}  # fmt: skip
SHOWN = 8  # elements that are wrong
SEED = 0


@dataclass(frozen=True)
class Tried:
    """How one trial went.

    Attributes:
        outcome: as of a sweep's row.
        lines: what to print.
    """

    outcome: Outcome
    lines: tuple[str, ...]


def attempts(
    target: str,
    values: Sequence[str] = (),
    *,
    only: str | None = None,
    overrides: Sequence[str] = (),
    workload: str | None = None,
    sweep: str | None = None,
    device: str = "cpu",
) -> tuple[list[Attempt], int]:
    """What to try, and how many further trials were selected and are left out.

    Args:
        target: an implementation (a registered name, `path.py:attribute`, `module:attribute`), a sweep file, a sweep
            that was run, or a trial's id.
        values: `name=value` each: params, as a sweep file states them; `options.name=value` for an option.
        only: of a sweep: the expression that selects its trials.
        overrides: of a sweep file: `path=value` each, as -S takes them.
        workload: of an implementation that is not registered; None: that of the nearest sweep file.
        sweep: of a trial's id: the sweep that has it.
        device: "cpu" or "cuda".

    Raises:
        RequestError: there is nothing to try, or the params are not those of the workload.
    """
    from orchestrator.plan.sweep import Sweep

    if is_row(target, values):
        results, found = lookup.trial(target, sweep)
        planned = Sweep.resolved(results.meta.spec, results.meta.base_dir, None, target)
        return [attempt_of(planned, found, results.meta.device if device == "auto" else device)], 0
    if target.endswith((".yaml", ".yml")):
        _refuse_values(target, values)
        planned = Sweep.load(target, overrides, only)
    elif _names_implementation(target):
        planned = _of_implementation(target, values, workload, only)
    else:
        _refuse_values(target, values)
        meta = load(lookup.find(target)).meta
        planned = Sweep.resolved(meta.spec, meta.base_dir, only, target)
    chosen = [attempt_of(planned, trial, device) for trial in planned.trials[:MOST]]
    return chosen, len(planned.trials) - len(chosen)


def is_row(target: str, values: Sequence[str]) -> bool:
    """Whether the target is a row of a sweep that was run, by its trial's id."""
    return lookup.is_trial_id(target) and not values and not Path(target).exists()


def attempt_of(sweep: Sweep, trial: Trial, device: str, number: int = 1) -> Attempt:
    """The attempt that a sweep would make of a trial in its round `number`, timed briefly."""
    from orchestrator.driver.attempts import input_seed
    from orchestrator.spec.models import MeasureSpec

    spec = sweep.spec
    protocol = MeasureSpec(**BRIEF, cold_cache=spec.measure.cold_cache).for_device(device)
    return Attempt(
        sweep_id="try",
        trial=trial,
        workload=spec.workload,
        base_dir=sweep.base_dir,
        device=device,
        seed=input_seed(spec.seed, trial, number),
        protocol=protocol,
        verify=spec.verify,
        resources=sweep.resources(trial, device),
        round=number,
    )


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
    stages = Stages(attempt, phase.append)
    began = perf_counter()
    try:
        stages.ready()
        right = f"✓ right: relative error {stages.before.error:.1e}, allowed {stages.before.budget.block:.0e}"
        if check:
            return Tried(Outcome.OK, (right, *_first_call(stages), f"  in {perf_counter() - began:.1f} s, not timed"))
        fields = stages.measured_alone()
        return Tried(Outcome.OK, (right, *_timed(fields, stages)))
    except AttemptEndedError as ended:
        cause = ended.__cause__
        said = message(ErrorInfo.of(ended.kind, ended.message), ended.outcome)
        lines = [f"✗ {ended.outcome}: {said}", f"  in phase {phase[-1].replace('_', ' ')}"]
        if cause is not None:
            lines = [*"".join(traceback.format_exception(cause)).rstrip().splitlines(), *lines]
            if debug:
                _post_mortem(cause)
        elif ended.outcome is Outcome.MISMATCH and hasattr(stages, "examiner"):
            lines += wrong_elements(stages)
        return Tried(ended.outcome, tuple(lines))


def wrong_elements(stages: Stages) -> list[str]:
    """The first elements of the output that are wrong, beside the right ones: on the inputs of the first verification.

    An element is wrong if it is off by more than ten times what is allowed of a block, of its own size or of the
    output's root mean square, whichever is larger.
    """
    import torch

    from orchestrator.verify.difference import FLOORS
    from orchestrator.verify.output_rows import Places, chunks, fetcher
    from orchestrator.verify.torch_settings import own_settings
    from orchestrator.verify.verifier import as_expected, state_seed
    from orchestrator.workload import Problem

    attempt, workload, config = stages.attempt, stages.workload, stages.config
    form = stages.subject.form
    inputs = stages.examiner.inputs("before")
    output = stages.subject.output(inputs).detach()
    state: Mapping[str, torch.Tensor] = {}
    with own_settings(), torch.no_grad():
        if workload.state is not None:
            state = workload.state(config, form, state_seed(attempt.seed))
        detached = tuple(tensor.detach() for tensor in inputs)
        limit = attempt.verify.max_reference_flops or 1e12
        problem = Problem(config, form, detached, state, torch.float64, limit, attempt.seed)
        expected = as_expected(workload.reference(problem))["output"]

    rows, width = expected.values.shape
    fetch, places = fetcher(output, expected), Places("output", output, expected)
    scale = float(expected.values.square().mean().sqrt())
    allowed = 10 * (attempt.verify.tolerance or FLOORS[workload.precision(stages.params)])
    count, found = 0, list[tuple[str, str, str]]()
    for start, stop in chunks(rows, width):
        right = expected.values[start:stop].double()
        got = fetch(start, stop).to(right)
        wrong = ~((got - right).abs() <= allowed * right.abs().clamp(min=scale))
        count += int(wrong.sum())
        for row, column in wrong.nonzero()[: SHOWN - len(found)].tolist():
            place = f"{places.of_row(start + row)[:-1]}, {column}]"
            found.append((place, f"{float(got[row, column]):.6g}", f"{float(right[row, column]):.6g}"))
    if not found:
        return ["  every element is within ten times the budget: the error is spread thinly"]
    share = 100 * count / (rows * width)
    lines = [f"  {count:,} of {rows * width:,} elements are wrong ({number(share, 1)} %), the first of them:"]
    widths = [max(map(len, column)) for column in zip(("element", "got", "right"), *found, strict=True)]
    for cells in [("element", "got", "right"), *found]:
        lines += [f"    {cells[0]:>{widths[0]}}  {cells[1]:>{widths[1]}}  {cells[2]:>{widths[2]}}"]
    return lines


def describe(attempt: Attempt) -> str:
    """`improved on cpu, batch=1 seq_len=512 heads=8 ...`: every param, as those that nobody gave count, too."""
    trial = attempt.trial
    values = {**trial.params, **{f"options.{name}": value for name, value in trial.options.items()}}
    point = " ".join(f"{name}={str(value).replace(' ', '')}" for name, value in values.items())
    return f"{printable(trial.implementation)} on {attempt.device}, {printable(point)}"


def main(found: Sequence[Attempt], left_out: int, *, check: bool, debug: bool) -> int:
    """Try each, print how it went; 0: all are ok."""
    print("in this process, without isolation: a crash ends this command, too", file=sys.stderr)
    bad = 0
    for attempt in found:
        print(describe(attempt), flush=True)
        tried = run(attempt, check=check, debug=debug)
        print("\n".join(tried.lines), flush=True)
        bad += tried.outcome is not Outcome.OK
    if left_out:
        print(f"and {counted(left_out, 'more trial')} selected: narrow them with --only", file=sys.stderr)
    return 1 if bad else 0


def _timed(fields: Mapping[str, Any], stages: Stages) -> list[str]:
    metrics = fields["metrics"]
    median = interval(*(metrics.get(f"latency{end}_ms") for end in ("", "_ci_low", "_ci_high")))
    flags = f" ({', '.join(fields['flags'])})" if fields["flags"] else ""
    rates = [f"{number(metrics.get('tflops_per_s'), 3)} TFLOP/s", f"{number(metrics.get('gb_per_s'), 1)} GB/s"]
    memory = metrics.get("peak_memory_mib")
    if memory is not None:
        rates.append(f"{number(memory)} MiB")
    return [
        f"  {median} ms{flags}, {', '.join(rates)}",
        *_first_call(stages),
        *(f"  note: {printable(note)}" for note in fields["notes"]),
    ]


def _first_call(stages: Stages) -> list[str]:
    return [f"  the first call took {number(stages.figures.get('first_call_ms'))} ms"]


def _post_mortem(error: BaseException) -> None:
    import pdb

    traceback.print_exception(error)
    pdb.post_mortem(error.__traceback__)


def _names_implementation(target: str) -> bool:
    from orchestrator.usercode import registry

    return ":" in target or target.endswith(".py") or target in registry.implementations()


def _refuse_values(target: str, values: Sequence[str]) -> None:
    if values:
        raise RequestError(
            f"{values[0]}: {target} states its params itself: narrow it with --only, or use -S PATH=VALUE"
        )


def _of_implementation(target: str, values: Sequence[str], workload: str | None, only: str | None) -> Sweep:
    """A sweep of one implementation: the params given, and for the rest those of the nearest sweep file."""
    from orchestrator.plan.sweep import Sweep
    from orchestrator.usercode import registry

    given = dict(map(_value, values))
    use, folder = _placed(target)
    known = registry.implementations()
    if workload is None and target in known:
        workload = known[target].workload
    template = _template(workload, folder)
    if workload is None and "workload" not in template:
        raise RequestError(f"{target}: which workload? --workload NAME or PATH.py:ATTRIBUTE says it")
    workload = _from_here(workload) if workload else str(template["workload"])
    stated = {**_first_values(template), **given}
    content = {
        "name": "try",
        "workload": workload,
        "implementations": [{"use": use, "label": default_label(target)}],
        "constants": stated,
        "seed": template.get("seed", SEED),
    }
    planned = Sweep.parse(_dumped(content), folder, f"try {target}")
    if only is not None:
        raise RequestError("--only narrows a sweep: of an implementation give the params, name=value")
    return planned


def _placed(target: str) -> tuple[str, Path]:
    """What `use` says, and the folder that it and the workload are found from."""
    source, colon, attribute = target.rpartition(":")
    if target.endswith(".py"):
        source, colon, attribute = target, ":", "build"
    if not colon or not source.endswith(".py"):
        return target, Path.cwd()
    path = Path(source)
    return f"./{path.name}:{attribute}", path.absolute().parent


def _from_here(workload: str) -> str:
    """A workload as the command line names it: its file made absolute, as the sweep starts in another folder."""
    source, _, attribute = workload.rpartition(":")
    return f"{Path(source).absolute()}:{attribute}" if source.endswith(".py") else workload


def _value(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise RequestError(f"{text!r}: a param is name=value, for example seq_len=512")
    return name.strip(), document.value_of(value)


def _template(workload: str | None, folder: Path) -> dict[str, Any]:
    """A sweep file that states the params nobody gave: one beside the implementation, else one that was shipped."""
    from orchestrator.cli.demo import NAME, shipped

    known = shipped()
    candidates = [*sorted(folder.glob("*.yaml")), *sorted(known.values(), key=lambda path: path.stem != NAME)]
    for path in candidates:
        try:
            data = document.load(path.read_text(), str(path)).data
        except (RequestError, OSError, UnicodeDecodeError):
            continue
        if not isinstance(data, dict) or "implementations" not in data or "workload" not in data:
            continue
        if workload is None or data["workload"] == workload:
            return data
    return {}


def _first_values(template: Mapping[str, Any]) -> dict[str, Any]:
    """The constants of a sweep file and the first value of each axis."""
    axes = template.get("axes") or {}
    firsts = {}
    for name, values in axes.items():
        firsts[name] = values[0] if isinstance(values, list) and values else values
        if isinstance(values, Mapping):
            firsts[name] = values.get("low")
    return {**(template.get("constants") or {}), **firsts}


def _dumped(content: Mapping[str, Any]) -> str:
    return json.dumps(content)  # which is YAML, too
