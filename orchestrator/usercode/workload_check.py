"""Checks a workload as itself: `python -m orchestrator.usercode.workload_check`, in a process of
its own.

What is wrong with its inputs or its reference would else be said of every implementation. Reads one
JSON object of `workload`, `base_dir`, `params`, `device` from stdin, and prints a JSON list of what
is wrong.
"""

from __future__ import annotations

import json
import math
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from orchestrator.errors import suggestion
from orchestrator.usercode import workloads
from orchestrator.usercode.functions import WorkloadError, in_precision
from orchestrator.usercode.generators import same_bits
from orchestrator.usercode.values.answers import alike
from orchestrator.usercode.values.by_name import ByName
from orchestrator.usercode.values.trees import is_tensor, leaves
from orchestrator.usercode.workload_file import FileWorkload
from orchestrator.util.files import PACKAGE
from orchestrator.workload import Config, Expected, Problem, Workload

SEED, OTHER_SEED = 1, 2
MAX_FLOPS = 1e9
# relative error of the reference in the trial's own dtype beyond which nothing can be verified
HOPELESS = 0.5
ASKED_TWICE_S = 1.0  # a reference that takes longer is not called again
SAME = 1e-3  # relative difference below which two answers are one
NARROW = ("float32", "float16", "bfloat16")


class FoundWrong(Exception):  # noqa: N818 - it ends the check, and is no fault of ours
    """What is wrong, where nothing more can be asked."""


def problems(workload: Workload, params: Any, device: str) -> list[str]:
    """What is wrong with a workload at these params, each in a sentence; empty: nothing found."""
    named = {name: getattr(params, name) for name in type(params).model_fields if name != "device"}
    config, form = Config(named, device), workload.forms[0]
    try:
        return list(_problems(workload, params, config, form))
    except FoundWrong as found:
        return [str(found)]


def _problems(workload: Workload, params: Any, config: Config, form: str) -> Iterator[str]:
    inputs = _call("inputs", lambda: workload.inputs(config, form, SEED))
    if not isinstance(inputs, list | tuple) or not all(map(is_tensor, inputs)):
        found = type(inputs).__name__
        if isinstance(inputs, tuple):
            found = f"a tuple of {', '.join(type(value).__name__ for value in inputs)}"
        raise FoundWrong(f"inputs returns {found}, and must return a tuple of tensors")
    names = _input_names(workload, config, form, len(inputs))
    yield from _of_inputs(inputs, names, config)
    again = _call("inputs", lambda: workload.inputs(config, form, SEED))
    yield from _of_seeds(inputs, again, names)
    _call("inputs", lambda: workload.inputs(config, form, OTHER_SEED))
    _call("work", lambda: workload.work(params, form))
    written = [name for name in workload.writes if name not in names]
    if written:
        near = suggestion(written[0], names)
        yield f"writes names {', '.join(written)}, which no input is called{near}"
    state: Mapping[str, torch.Tensor] = {}
    if workload.state is not None:
        draw = workload.state
        state = _call("state", lambda: draw(config, form, SEED))
    problem = Problem(config, form, tuple(inputs), state, torch.float64, MAX_FLOPS, SEED)
    yield from _of_reference(workload, problem)
    if workload.backward(params):
        _of_gradients(workload, problem, names)


def _input_names(workload: Workload, config: Config, form: str, count: int) -> tuple[str, ...]:
    if isinstance(workload, FileWorkload):
        return workload.calls.input_names(config)
    names = list(workload.input_names.get(form, ()))
    names += [str(number) for number in range(len(names), count)]
    return tuple(names)


def _of_inputs(
    inputs: Sequence[torch.Tensor], names: Sequence[str], config: Config
) -> Iterator[str]:
    for name, tensor in zip(names, inputs, strict=False):
        if tensor.layout is not torch.strided:
            yield f"the input {name} is of layout {tensor.layout}: give its parts as dense tensors"
        if tensor.device.type != config.device.type:
            yield f"the input {name} is on {tensor.device}, and the trial runs on {config.device}"
    asked = config.__dict__.get("dtype")
    if not isinstance(asked, torch.dtype) or not asked.is_floating_point:
        return
    floating = sorted({str(tensor.dtype) for tensor in inputs if tensor.is_floating_point()})
    if floating and str(asked) not in floating:
        yield f"the trial asks for {asked}, and the inputs are {', '.join(floating)}"


def _of_seeds(
    inputs: Sequence[torch.Tensor], again: Sequence[torch.Tensor], names: Sequence[str]
) -> Iterator[str]:
    for name, one, other in zip(names, inputs, again, strict=False):
        if one.shape != other.shape or one.dtype != other.dtype:
            yield (
                f"the input {name} has another shape or dtype when it is drawn again "
                "with the same seed"
            )
        elif not same_bits(one, other):
            yield (
                f"the input {name} has other values when it is drawn again with the same seed: "
                "seed what draws it"
            )


def _of_reference(workload: Workload, problem: Problem) -> Iterator[str]:
    started = perf_counter()
    answer = _call("reference", lambda: workload.reference(problem))
    is_quick = perf_counter() - started < ASKED_TWICE_S
    if is_quick and isinstance(workload, FileWorkload) and workload.judge is None:
        again = _call("reference", lambda: workload.reference(problem))
        for (_, one), (_, other) in zip(_answers(answer), _answers(again), strict=False):
            if not _near(one, other):
                hint = "have it draw from a seed that it sets itself, or state a judge"
                if workload.calls.is_foreign:  # which has no judge of ours
                    hint = "what it draws or keeps between calls has to come with its inputs"
                raise FoundWrong(
                    "reference gives another answer when it is called again with the same inputs: "
                    f"{hint}"
                )
    found = {name: leaf for name, leaf in _answers(answer) if leaf is not None}
    if not found:
        yield (
            "reference returns nothing, and names no input in `writes` that it changes: "
            "there is nothing to compare"
        )
    for name, leaf in found.items():
        if not isinstance(leaf, torch.Tensor | Expected | bool | int | float | complex):
            kind = type(leaf).__name__
            yield f"reference returns {kind} for {name}, and must return tensors or numbers"
    values = {name: _values(leaf) for name, leaf in found.items()}
    # the text of another format's reference is not the user's to change
    is_own = not (isinstance(workload, FileWorkload) and workload.calls.is_foreign)
    for name, value in values.items():
        if is_own and is_tensor(value) and str(value.dtype).removeprefix("torch.") in NARROW:
            yield (
                f"reference returns {value.dtype} for {name} where it is asked for "
                f"{problem.dtype}: its rounding would be taken for the truth; "
                "leave dtypes as they come"
            )
    if workload.judge is None:  # which is there for answers that may be far apart
        yield from _conditioned(workload, problem, values)
    elif all(is_tensor(leaf) for leaf in found.values()):
        yield from _of_judge(workload, problem, values)


def _of_gradients(workload: Workload, problem: Problem, names: Sequence[str]) -> None:
    """That autograd can work out the gradients that the reference does not name itself.

    Raises:
        FoundWrong: torch cannot differentiate what it calls.
    """
    wide = [in_precision(tensor, torch.float64).detach() for tensor in problem.inputs]
    tracked = {
        name: tensor.clone().requires_grad_()
        for name, tensor in zip(names, wide, strict=True)
        if (tensor.is_floating_point() or tensor.is_complex()) and name not in workload.writes
    }
    inputs = tuple(tracked.get(name, one) for name, one in zip(names, wide, strict=True))
    try:
        with torch.enable_grad():
            answer = dict(_answers(workload.reference(replace(problem, inputs=inputs))))
            lacking = [one for name, one in tracked.items() if f"grad_{name}" not in answer]
            found = [_values(leaf) for leaf in answer.values()]
            roots = [one for one in found if is_tensor(one) and one.requires_grad]
            if roots and lacking:
                upstream = [torch.ones_like(one) for one in roots]
                torch.autograd.grad(roots, lacking, upstream, allow_unused=True)
    except RuntimeError as error:
        raise FoundWrong(
            "backward = True, and the gradients of reference cannot be worked out: "
            f"{error}{_place(error)}; write the operation out, detach() an input there that has no "
            "gradient (it is then 0), or have reference return its gradients as grad_NAME"
        ) from error


def _values(leaf: Any) -> Any:
    return leaf.values if isinstance(leaf, Expected) else leaf


def _near(one: Any, other: Any) -> bool:
    """Whether two floating leaves are one answer: sums and ties may come in another order."""
    first, second = _values(one), _values(other)
    for value in (first, second):
        if not is_tensor(value) or value.layout is not torch.strided:
            return True
        if not value.is_floating_point():
            return True
    return alike(first, second, SAME)


def _answers(answer: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(answer, Expected):
        yield "output", answer
    elif isinstance(answer, Mapping):
        for name, value in answer.items():
            if isinstance(value, Expected):
                yield name, value
            else:
                yield from leaves(value, str(name))
    else:
        yield from leaves(answer)


def _conditioned(workload: Workload, problem: Problem, exact: Mapping[str, Any]) -> Iterator[str]:
    """Whether the reference in the trial's own dtype says about the same as in float64."""
    dtype = _working_dtype(problem)
    if dtype is None or dtype is torch.float64 or dtype.itemsize < 2:
        return
    try:
        plain = workload.reference(Problem(**{**problem.__dict__, "dtype": dtype}))
    except Exception:  # noqa: BLE001 - it need not exist in every dtype
        return
    for name, leaf in _answers(plain):
        true: Any = exact.get(name)
        value = _values(leaf)
        if not is_tensor(value) or not is_tensor(true):
            continue
        if value.layout is not torch.strided or true.layout is not torch.strided:
            continue
        if not value.is_floating_point() or value.shape != true.shape:
            continue
        error = _relative_error(value.double(), true.double(), torch.finfo(dtype).max)
        if error > HOPELESS:
            yield (
                f"reference in {dtype} is itself {error:.2g} off from what it says in float64 "
                f"({name}): no implementation can be verified in this dtype; "
                "state a better conditioned problem, or a wider dtype"
            )


def _relative_error(value: torch.Tensor, true: torch.Tensor, largest: float) -> float:
    """Of what is finite and within the dtype: an overflow is judged where it is, and is no want of
    condition.
    """
    counted = value.isfinite() & (true.abs() <= largest)
    right = true[counted]
    away, norm = float((value[counted] - right).norm()), float(right.norm())
    return away / norm if norm else (math.inf if away else 0.0)


def _working_dtype(problem: Problem) -> torch.dtype | None:
    """What the trial computes in: what it asks for, else the dtype of its first floating input."""
    asked = problem.config.__dict__.get("dtype")
    if isinstance(asked, torch.dtype) and asked.is_floating_point:
        return asked
    floating = [tensor.dtype for tensor in problem.inputs if tensor.is_floating_point()]
    return next(iter(floating), None)


def _of_judge(workload: Workload, problem: Problem, exact: Mapping[str, Any]) -> Iterator[str]:
    """Whether the judge accepts the reference's own answer: rounded to the trial's dtype, or else
    computed in it.
    """
    dtype = _working_dtype(problem)
    rounded = {}
    for name, values in exact.items():
        narrow = dtype is not None and values.is_floating_point() and values.dtype.itemsize > 1
        rounded[name] = values.to(dtype) if narrow else values
    refused = _refused_by_judge(workload, problem, rounded, exact)
    if refused and dtype is not None:
        with suppress(Exception):  # it need not exist in every dtype
            plain = workload.reference(Problem(**{**problem.__dict__, "dtype": dtype}))
            answer = {name: _values(leaf) for name, leaf in _answers(plain) if leaf is not None}
            refused = _refused_by_judge(workload, problem, answer, exact)
    if refused:
        yield (
            f"judge refuses the reference's own answer: {'; '.join(refused)}; no implementation "
            "could be right"
        )


def _refused_by_judge(
    workload: Workload, problem: Problem, found: Mapping[str, Any], exact: Mapping[str, Any]
) -> list[str]:
    """The lines of the judge that refuse these outputs.

    Raises:
        FoundWrong: it raised, or returned something else than pairs of numbers.
    """
    judge = workload.judge
    assert judge is not None
    inputs = [in_precision(tensor, torch.float64) for tensor in problem.inputs]
    outputs = {name: in_precision(values, torch.float64) for name, values in found.items()}
    lines = _call("judge", lambda: judge(inputs, ByName(outputs), ByName(exact)))
    refused = []
    try:
        for name, (error, allowed) in lines.items():
            if not float(error) <= float(allowed):  # NaN is refused, too
                refused.append(f"{name}: {float(error):.3g}, allowed {float(allowed):.3g}")
    except (AttributeError, TypeError, ValueError):
        raise FoundWrong(
            f"judge returns {lines!r:.80}, and must return a dict of names with pairs of numbers: "
            'error and what is allowed of it, {"residual": (error, 1e-5)}'
        ) from None
    return refused


def _call(name: str, function: Callable[[], Any]) -> Any:
    """What a function of the workload returns.

    Raises:
        FoundWrong: it raised; with the place in the user's file.
    """
    try:
        return function()
    except Exception as error:
        if isinstance(error, WorkloadError):  # names the function itself
            raise FoundWrong(str(error)) from error
        said = str(error)
        if not type(error).__module__.startswith("orchestrator."):
            said = f"{type(error).__name__}: {said}"
        raise FoundWrong(f"{name} fails with {said}{_place(error)}") from error


def _place(error: Exception) -> str:
    """Where in the user's file it was raised; "" where it was in none."""
    place, others = "", (str(PACKAGE), *_libraries())
    for frame in traceback.extract_tb(error.__traceback__):  # the last that is the user's
        if not frame.filename.startswith(others):
            place = f" ({Path(frame.filename).name}:{frame.lineno} in {frame.name})"
    return place


def _libraries() -> tuple[str, ...]:
    """How the file names of Python's own code and of what is installed begin."""
    packages = [path for path in sys.path if path.endswith("-packages")]
    return (str(Path(traceback.__file__).parent), *packages, "<frozen")


def main() -> int:
    """Print what is wrong."""
    asked = json.loads(sys.stdin.read())
    workload = workloads.find(asked["workload"], asked["base_dir"])
    given = dict(asked["params"])
    if "device" in workload.params.model_fields:
        given["device"] = asked["device"]
    params = workload.params.model_validate_json(json.dumps(given))
    found = problems(workload, params, asked["device"])
    print(json.dumps(found))  # noqa: T201 - the answer is what it is for
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
