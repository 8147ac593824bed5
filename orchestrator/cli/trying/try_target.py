"""What `orchestrator try` tries: an implementation and params, rows of a sweep file, or of a sweep
that was run.

Params that nobody gave are as in the nearest sweep file.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.cli import sweep_argument
from orchestrator.driver.attempts import input_seed
from orchestrator.errors import RequestError, SweepNotFoundError, nearest
from orchestrator.plan.sweep import Sweep
from orchestrator.report.reasons import shown_path
from orchestrator.results import lookup
from orchestrator.results.sweep_directory import load
from orchestrator.spec import document
from orchestrator.spec.models import MeasureSpec, default_label
from orchestrator.trial import Attempt, Trial
from orchestrator.usercode import registry

MOST = 8  # trials of one call
BRIEF: dict[str, Any] = {
    "warmup_s": 0.05, "min_time_s": 0.2, "max_time_s": 1.0, "min_repetitions": 5, "target_ci": 0.02
}  # fmt: skip
SEED = 0


@dataclass(frozen=True)
class Selection:
    """What to try, how many further trials were selected and are left out, and what a person should
    know of it.
    """

    attempts: tuple[Attempt, ...]
    left_out: int = 0
    note: str = ""


def attempts(
    target: str,
    values: Sequence[str] = (),
    *,
    only: str | None = None,
    overrides: Sequence[str] = (),
    workload: str | None = None,
    sweep: str | None = None,
    device: str = "cpu",
) -> Selection:
    """What to try.

    Args:
        target: an implementation (a registered name, `path.py:attribute`, `module:attribute`), a
            sweep file, a sweep that was run, or a trial's id.
        values: `name=value` each: params, as a sweep file states them; `options.name=value` for an
            option.
        only: of a sweep: the expression that selects its trials.
        overrides: of a sweep file: `path=value` each, as -S takes them.
        workload: of an implementation that is not registered; None: that of the nearest sweep file.
        sweep: of a trial's id: the sweep that has it.
        device: "cpu" or "cuda".

    Raises:
        RequestError: there is nothing to try, or the params are not those of the workload.
    """
    note = ""
    if sweep is not None and not is_row(target, values):
        raise RequestError(f"--sweep goes with the id of a row, and {target} is not one")
    if overrides and not target.endswith((".yaml", ".yml")):
        raise RequestError(f"-S goes with a sweep file, and {target} is not one")
    if workload is not None and not _names_implementation(target):
        raise RequestError(f"--workload goes with an implementation: {target} states its own")
    if is_row(target, values):
        if only is not None:
            raise RequestError("--only narrows a sweep, and a row is one trial")
        results, found = lookup.trial(target, sweep)
        planned = Sweep.resolved(results.meta.spec, results.meta.base_dir, None, target)
        if device == "auto":
            device = results.meta.device  # where the row was measured
        return Selection((attempt_of(planned, found, device),))
    if target.endswith((".yaml", ".yml")):
        _refuse_values(target, values)
        planned = sweep_argument.load(target, overrides, only)
    elif _names_implementation(target):
        if only is not None:
            raise RequestError(
                "--only narrows a sweep: of an implementation give the params, name=value"
            )
        planned, note = _of_implementation(target, values, workload)
    else:
        _refuse_values(target, values)
        try:
            meta = load(lookup.find(target)).meta
        except SweepNotFoundError as error:
            near = nearest(target, registry.implementations())
            meant = f" (did you mean {near!r}?)" if near else ""
            raise SweepNotFoundError(
                f"{target} is no registered implementation{meant} and no path.py:attribute; as a "
                f"sweep: {error}"
            ) from error
        planned = Sweep.resolved(meta.spec, meta.base_dir, only, target)
    chosen = tuple(attempt_of(planned, trial, device) for trial in planned.trials[:MOST])
    return Selection(chosen, len(planned.trials) - len(chosen), note)


def is_row(target: str, values: Sequence[str]) -> bool:
    """Whether the target is a row of a sweep that was run, by its trial's id."""
    return lookup.is_trial_id(target) and not values and not Path(target).exists()


def attempt_of(sweep: Sweep, trial: Trial, device: str, number: int = 1) -> Attempt:
    """The attempt that a sweep would make of a trial in its round `number`, timed briefly."""
    spec = sweep.spec
    protocol = MeasureSpec(**BRIEF, cold_cache=spec.measure.cold_cache).for_device(device)
    return Attempt(
        sweep_id="try",
        trial=trial,
        workload=spec.workload,
        base_dir=sweep.base_dir,
        device=device,
        seed=input_seed(spec, trial, number),
        protocol=protocol,
        verify=spec.verify,
        resources=sweep.resources(trial, device),
        round=number,
    )


def _names_implementation(target: str) -> bool:
    return ":" in target or target.endswith(".py") or target in registry.implementations()


def _refuse_values(target: str, values: Sequence[str]) -> None:
    if values:
        raise RequestError(
            f"{values[0]}: {target} states its params itself: "
            "narrow it with --only, or use -S PATH=VALUE"
        )


def _of_implementation(
    target: str, values: Sequence[str], workload: str | None
) -> tuple[Sweep, str]:
    """A sweep of one implementation with the params given, and where the other params come from."""
    use, folder = _placed(target)
    if workload is not None:
        workload = _from_here(workload)
    elif target in (known := registry.implementations()):
        workload = known[target].workload
    template, where = _template(workload, use, folder)
    if workload is None and not _entry(template, use):
        file = use.rpartition(":")[0]
        if _is_workload(folder / file):
            template, where, workload = {}, "", file
    if workload is None and not template:
        raise RequestError(f"{target}: which workload? --workload NAME or PATH.py says it")
    content = {
        "name": "try",
        "workload": workload or template["workload"],
        "implementations": [{**_entry(template, use), "use": use, "label": default_label(target)}],
        "constants": {**_first_values(template), **dict(map(_value, values))},
        "seed": template.get("seed", SEED),
    }
    note = f"params that were not given are as in {where}" if where else ""
    return Sweep.parse(json.dumps(content), folder, f"try {target}"), note


def _is_workload(path: Path) -> bool:
    """Whether a file says by itself what is to be computed: it has functions `inputs` and
    `reference`.
    """
    try:
        body = ast.parse(path.read_bytes()).body
    except (OSError, SyntaxError, ValueError):
        return False
    functions = {one.name for one in body if isinstance(one, ast.FunctionDef)}
    if not {"inputs", "reference"} <= functions:
        return False
    return "Workload(" not in path.read_text(errors="replace")  # which is named by its attribute


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
    """A workload as the command line names it: its file made absolute, as the sweep starts in
    another folder.
    """
    if workload.endswith(".py"):
        return str(Path(workload).absolute())
    source, _, attribute = workload.rpartition(":")
    if source.endswith(".py"):
        return f"{Path(source).absolute()}:{attribute}"
    return workload


def _value(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise RequestError(f"{text!r}: a param is name=value, for example seq_len=512")
    return name.strip(), document.value_of(value)


def _template(workload: str | None, use: str, folder: Path) -> tuple[dict[str, Any], str]:
    """A sweep file that states the params nobody gave, and its name.

    One beside the implementation, first of all one that lists it; else, of a workload that comes
    with the package, one that was shipped.
    """
    from orchestrator.cli.demo import NAME, shipped

    beside = [(path, _sweep_file(path)) for path in sorted(folder.glob("*.yaml"))]
    beside = [(path, data) for path, data in beside if data]
    beside.sort(key=lambda found: not _entry(found[1], use))
    known: list[Path] = []
    if workload is None or workload in registry.workloads():
        known = sorted(shipped().values(), key=lambda path: path.stem != NAME)
    others = [(path, _sweep_file(path)) for path in known]
    for path, data in [*beside, *others]:
        if data and (workload is None or data["workload"] == workload):
            return data, shown_path(path)
    return {}, ""


def _sweep_file(path: Path) -> dict[str, Any]:
    """What a sweep file states; nothing where the file is none."""
    try:
        data = document.load(path.read_text(), str(path)).data
    except (RequestError, OSError, UnicodeDecodeError):
        return {}
    if "workload" not in data or not isinstance(data.get("implementations"), list):
        return {}
    return data


def _entry(template: Mapping[str, Any], use: str) -> dict[str, Any]:
    """What a sweep file says of an implementation: params, options, call, compile."""
    for entry in template.get("implementations", ()):
        stated = {"use": entry} if isinstance(entry, str) else entry
        if not isinstance(stated, Mapping):
            continue
        if str(stated.get("use")).removeprefix("./") == use.removeprefix("./"):
            return dict(stated)
    return {}


def _first_values(template: Mapping[str, Any]) -> dict[str, Any]:
    """The constants of a sweep file, the first value of each axis, and its first case where they
    are listed.
    """
    found = dict(template.get("constants") or {})
    for name, values in (template.get("axes") or {}).items():
        if isinstance(values, list) and values:
            found[name] = values[0]
        elif isinstance(values, Mapping):
            found[name] = values.get("low")
    cases = template.get("cases")
    rows = cases.get("rows") if isinstance(cases, Mapping) else cases
    if isinstance(rows, list) and rows and isinstance(rows[0], Mapping):
        found |= rows[0]
    return found
