"""`orchestrator repro`: a plain script that calls one row's implementation on exactly that row's
inputs.

The script reads from top to bottom: no sweep, no isolation, no options but `--calls`. It is what
goes under a profiler, a sanitizer or a debugger, and into a bug report.
"""

from __future__ import annotations

from pathlib import Path
from pprint import pformat
from typing import Any

from orchestrator.driver.attempts import input_seed
from orchestrator.errors import RequestError
from orchestrator.formatting import printable
from orchestrator.outcome import Outcome
from orchestrator.results import lookup
from orchestrator.results.results import Results
from orchestrator.trial import Trial
from orchestrator.verify.rule.precisions import usual_error
from orchestrator.verify.seeds import derived_seed, salted, state_seed

SCRIPT = '''\
"""{title}

Written by `orchestrator repro {trial_id}`, from the sweep {sweep_id}.

    python {file}                          # right or wrong, the first wrong elements, one time
    ncu --nvtx --nvtx-include timed/ python {file} --calls 3
    nsys profile --capture-range nvtx -p timed python {file}
    compute-sanitizer python {file} --calls 1
    cuda-gdb --args python {file} --calls 1
"""

import argparse
import json
import statistics
import time

import torch

from orchestrator.cli.trying.wrong_elements import outputs_of, wrong_elements
from orchestrator.usercode import workloads
from orchestrator.usercode.implementation import build, differentiable
from orchestrator.verify.inputs import copied, rewrite
from orchestrator.workload import Config, Problem

WORKLOAD = {workload!r}
IMPLEMENTATION = {use!r}
FOLDER = {folder!r}  # where relative paths of the two start
PARAMS = {params}
OPTIONS = {options}
CALL = {call}  # keyword arguments of every call
COMPILE = {compile!r}  # whether it runs under torch.compile
DEVICE = {device!r}
INPUT_SEED = {input_seed}  # of the inputs that were verified, in round {round}
STATE_SEED = {state_seed}  # of the parameters that are loaded into a module

parser = argparse.ArgumentParser()
parser.add_argument("--calls", type=int, default=30, help="calls that are timed")
calls = parser.parse_args().calls

workload = workloads.find(WORKLOAD, FOLDER)
entry = workloads.loaded(IMPLEMENTATION, FOLDER, workload, CALL, COMPILE)
form = entry.form or workload.forms[0]
known = {{**PARAMS, "device": DEVICE}}
given = {{name: known[name] for name in workload.params.model_fields if name in known}}
params = workload.params.model_validate_json(json.dumps(given))
named = {{name: getattr(params, name) for name in workload.params.model_fields if name != "device"}}
config = Config(named, DEVICE, OPTIONS)

# built.function is what your code returned
built = build(workload, params, config, entry, STATE_SEED)
inputs = tuple(workload.inputs(config, form, INPUT_SEED))
if built.backward:
    for name, one in zip(built.names(len(inputs)), inputs):
        is_state = name in built.writes
        one.requires_grad_(not is_state and (one.is_floating_point() or one.is_complex()))
drawn = tuple(one.detach() for one in copied(inputs))  # a call may write into its inputs
built.prepare(inputs)


def wait():
    if config.device.type == "cuda":
        torch.cuda.synchronize()


with torch.set_grad_enabled(built.backward):
    returned = built.function(*built.arguments(inputs), **built.keywords)
wait()
outputs = outputs_of(returned, built, workload, inputs)
for name, output in outputs.items():
    print(name, tuple(output.shape), output.dtype, output.device)

# The right answer in float64, without gradients; where the workload answers for some rows, of
# those.
state = {{}} if workload.state is None else workload.state(config, form, STATE_SEED)
answer = workload.reference(
    Problem(config, form, drawn, state, torch.float64, {max_flops:g}, INPUT_SEED)
)
for line in wrong_elements(outputs, answer, {allowed:g}, was_wrong={was_wrong}):
    print(line)

upstream = [torch.ones_like(one) for one in differentiable(returned)] if built.backward else ()
once = built.timed(inputs, upstream)
milliseconds = []
with torch.set_grad_enabled(built.backward):
    for _ in range(calls):
        if workload.restore:
            rewrite(inputs, drawn)
        wait()
        if config.device.type == "cuda":
            torch.cuda.nvtx.range_push("timed")
        start = time.perf_counter()
        once()
        wait()
        milliseconds.append(1000 * (time.perf_counter() - start))
        if config.device.type == "cuda":
            torch.cuda.nvtx.range_pop()
median_ms = statistics.median(milliseconds)
print(f"median of {{calls}} calls: {{median_ms:.4g}} ms (one call at a time, by the wall clock)")
'''


def script(results: Results, trial: Trial, file: str) -> str:
    """The script of one trial; of several rounds, that of the first that was not ok, else the
    first.
    """
    number = _round(results, trial)
    spec, meta = results.meta.spec, results.meta
    seed = salted(input_seed(spec, trial, number), _salt(results, trial, number))
    point = " ".join(f"{name}={value}" for name, value in trial.params.items())
    precision = str(trial.params.get("matmul_precision", trial.params.get("dtype", "float32")))
    floor = usual_error(precision, str(trial.params.get("dtype", "float32")))
    return SCRIPT.format(
        title=_in_docstring(f"{trial.implementation} {point}"),
        trial_id=trial.trial_id,
        sweep_id=_in_docstring(meta.sweep_id),
        file=_in_docstring(file),
        workload=spec.workload,
        use=trial.use,
        folder=meta.base_dir,
        params=_literal(trial.params),
        options=_literal(trial.options),
        call=_literal(trial.call),
        compile=trial.compile,
        device=meta.device,
        input_seed=derived_seed(seed, "before"),
        state_seed=state_seed(seed),
        round=number,
        max_flops=spec.verify.max_reference_flops or 1e12,
        allowed=spec.verify.tolerance or floor,
        was_wrong=any(
            record.trial_id == trial.trial_id and record.outcome is Outcome.MISMATCH
            for record in results.records
        ),
    )


def write(trial_id: str, sweep: str | None = None, output: str | None = None) -> Path:
    """Write the script of a trial; the path written.

    Args:
        trial_id: the whole, or its first digits.
        sweep: which sweep; None: the newest that has the trial.
        output: the file; None: repro_<trial_id>.py in the current directory.

    Raises:
        RequestError: there is no such trial, or a file of that name is there already.
    """
    results, trial = lookup.trial(trial_id, sweep)
    path = Path(output or f"repro_{trial.trial_id}.py")
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(script(results, trial, path.name))
    except FileExistsError:
        raise RequestError(
            f"{path} already exists; repro never overwrites: name another with --output"
        ) from None
    except OSError as error:
        raise RequestError(
            f"{path} cannot be written ({error.strerror}): name another with --output"
        ) from None
    return path


def _round(results: Results, trial: Trial) -> int:
    number = 1
    for record in results.records:
        if record.trial_id == trial.trial_id and record.outcome is not Outcome.OK:
            number = record.round
    return number


def _salt(results: Results, trial: Trial, number: int) -> str:
    """What the inputs of the latest attempt of that round were drawn with, beside the seed."""
    salt = ""
    for record in results.records:
        if (record.trial_id, record.round) == (trial.trial_id, number):
            salt = record.salt
    return salt


def _literal(value: Any) -> str:
    return pformat(value, width=100, sort_dicts=False)


def _in_docstring(text: str) -> str:
    return printable(text).replace("\\", "\\\\").replace('"""', "'''")
