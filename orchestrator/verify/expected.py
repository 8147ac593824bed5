"""What a workload's reference answers for, by the name of each output, gradients and written inputs
included.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from orchestrator.usercode.values.by_name import OUTPUT
from orchestrator.usercode.values.trees import leaves
from orchestrator.verify.rule.output_rows import check_shape, whole_answer
from orchestrator.verify.rule.outputs import GRAD
from orchestrator.workload import Expected, Problem, Workload


class IncompleteReferenceError(Exception):
    """The reference does not answer for what must be answered for."""


@dataclass
class Gradients:
    """Which gradients belong to a call, and what they are propagated from.

    Attributes:
        inputs: names of the inputs, one per input.
        parameters: names of the parameters that have one.
        upstream: gradient of each floating-point output, in the output's dtype.
        returned: the names of all that a call returned, in order.
        roots: the names of what of it has a gradient.
        answered: whether the reference names them all itself; None: not known yet.
        left_out: names of parameters whose gradients a reference that names others leaves out.
        detached: names of outputs that have a gradient, other than 0, in the reference alone.
    """

    inputs: tuple[str, ...]
    parameters: tuple[str, ...]
    upstream: Mapping[str, torch.Tensor]
    returned: tuple[str, ...] = ()
    roots: tuple[str, ...] = ()
    answered: bool | None = None
    left_out: tuple[str, ...] = ()
    detached: tuple[str, ...] = ()


def named(answer: Any) -> dict[str, Any]:
    """The leaves of what a reference or an implementation returned, by name; None is no leaf."""
    if answer is None:
        return {}
    if isinstance(answer, torch.Tensor | Expected):
        return {OUTPUT: answer}
    found = list(leaves(answer))
    if len(found) == 1 and found[0][1] is answer:  # it is a leaf itself
        return {OUTPUT: answer}
    return {name: leaf for name, leaf in found if leaf is not None}


def compute(
    workload: Workload, problem: Problem, gradients: Gradients | None
) -> dict[str, Expected]:
    """What the reference says, row by row; gradients that it does not name by autograd.

    Raises:
        IncompleteReferenceError: it answers for nothing, or lacks a gradient that cannot be worked
            out.
    """
    answers = (
        _with_gradients(workload, problem, gradients)
        if gradients
        else named(workload.reference(problem))
    )
    expected = {name: _as_expected(answer) for name, answer in answers.items()}
    if any(one.values.numel() for one in expected.values()):
        return expected
    if not answers or any(isinstance(one, Expected) for one in answers.values()):
        raise IncompleteReferenceError(
            "the reference answers for no element of any output: nothing is compared"
        )
    return expected  # the outputs themselves have no elements


def _as_expected(answer: Any) -> Expected:
    if isinstance(answer, Expected):
        return replace(answer, values=answer.values.detach())
    if isinstance(answer, torch.Tensor):
        return whole_answer(answer.detach())
    return whole_answer(
        torch.as_tensor(answer, dtype=torch.float64 if isinstance(answer, float) else None)
    )


def _with_gradients(workload: Workload, problem: Problem, asked: Gradients) -> dict[str, Any]:
    """The reference's own answer, and what it does not name of the gradients by autograd in its own
    dtype.
    """
    wanted = set(asked.parameters)
    for name, tensor in zip(asked.inputs, problem.inputs, strict=True):
        if has_gradient(tensor) and name not in workload.writes:
            wanted.add(name)
    if asked.answered is not False:
        answers = named(workload.reference(problem))
        missing = {name for name in wanted if GRAD + name not in answers}
        own = len(missing) < len(wanted) and not missing & set(asked.inputs)
        if own and not _differentiable(answers):
            asked.left_out = tuple(sorted(missing))
            missing = set()
        asked.answered = not missing
        if asked.answered:
            return answers
    return _by_autograd(workload, problem, asked, wanted)


def _by_autograd(
    workload: Workload, problem: Problem, asked: Gradients, wanted: Collection[str]
) -> dict[str, Any]:
    """The reference's answer, and those of the `wanted` gradients that it does not name."""
    named_inputs = list(zip(asked.inputs, problem.inputs, strict=True))
    tracked: dict[str, torch.Tensor] = {}
    for name, tensor in (*named_inputs, *problem.state.items()):
        if name in wanted:
            tracked[name] = _leaf(tensor, problem.dtype)
    inputs = tuple(tracked.get(name, tensor) for name, tensor in named_inputs)
    state = {name: tracked.get(name, tensor) for name, tensor in problem.state.items()}
    with torch.enable_grad():
        answers = named(workload.reference(replace(problem, inputs=inputs, state=state)))

    lacking = sorted(name for name in wanted if GRAD + name not in answers)
    roots, upstream, names = [], [], []
    own = _own_names(workload, asked, answers)
    given = {own.get(name, name): one for name, one in asked.upstream.items()}
    followed = {own.get(name, name) for name in asked.roots}
    for name, answer in answers.items():
        if name in given and isinstance(answer, torch.Tensor) and answer.requires_grad:
            check_shape(name, given[name], whole_answer(answer))
            roots.append(answer)
            upstream.append(given[name].to(answer.device, answer.dtype))
            names.append(name)
    if not roots or any(name not in tracked for name in lacking):
        said = ", ".join(GRAD + name for name in lacking)
        raise IncompleteReferenceError(
            f"the reference lacks {said}, and autograd cannot work them out: "
            "return them beside the output, or return the whole output, made from the inputs "
            "by torch's operations"
        )
    if problem.upstream is not None and len(roots) == len(asked.upstream) == 1:
        upstream = [problem.upstream.to(roots[0])]
    targets = [tracked[name] for name in lacking]
    asked.detached = tuple(
        name
        for name, root, grad in zip(names, roots, upstream, strict=True)
        if name not in followed and _has_effect(root, targets, grad)
    )
    found = torch.autograd.grad(roots, targets, upstream, allow_unused=True)
    for name, target, grad in zip(lacking, targets, found, strict=True):
        answers[GRAD + name] = torch.zeros_like(target) if grad is None else grad
    return answers


def _has_effect(
    root: torch.Tensor, targets: Sequence[torch.Tensor], upstream: torch.Tensor
) -> bool:
    """Whether the gradient of one output is anywhere not 0; that of rounding or a sign is 0."""
    found = torch.autograd.grad(root, targets, upstream, retain_graph=True, allow_unused=True)
    return any(one is not None and bool(one.any()) for one in found)


def _own_names(
    workload: Workload, asked: Gradients, answers: Mapping[str, Any]
) -> Mapping[str, str]:
    """What the reference calls each output: a tuple answers for those that it names in order."""
    names = [name for name in answers if not name.startswith(GRAD) and name not in workload.writes]
    if len(names) != len(asked.returned) or set(names) == set(asked.returned):
        names = list(asked.returned)
    return dict(zip(asked.returned, names, strict=True))


def _differentiable(answers: Mapping[str, Any]) -> bool:
    """Whether what a reference answers depends on its inputs by autograd."""
    return any(isinstance(one, torch.Tensor) and one.requires_grad for one in answers.values())


def has_gradient(tensor: torch.Tensor) -> bool:
    """Whether a tensor's dtype knows gradients."""
    return tensor.is_floating_point() or tensor.is_complex()


def _leaf(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    wide = dtype.to_complex() if tensor.is_complex() else dtype
    return tensor.detach().to(wide).requires_grad_()
