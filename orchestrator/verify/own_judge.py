"""Judges of a workload's own, for outputs that have more than one right answer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace

import torch

from orchestrator.usercode.values.answers import same_bytes
from orchestrator.usercode.values.by_name import ByName, output_of
from orchestrator.verify.rule.exact import Fault
from orchestrator.verify.rule.judgement import Judgement, Verdict, joined
from orchestrator.verify.rule.reference import Reference
from orchestrator.workload import Expected, Judge


def judged(judge: Judge, reference: Reference, outputs: Mapping[str, torch.Tensor]) -> Judgement:
    """The verdict of `judge` on the outputs that it names, and of the rule on the others."""
    lines = _lines(judge, reference, outputs)
    named = {output_of(name) for name in lines} & set(reference.expected)
    own = joined([_verdict(name, *pair) for name, pair in lines.items()])
    others = [name for name in reference.expected if named and name not in named]
    ruled = reference.judge(outputs, only=others)
    worse = max((own, ruled), key=lambda one: one.share)
    said = [f"{name}: {error:.3g} of {allowed:.3g}" for name, (error, allowed) in lines.items()]
    return Judgement(
        error=ruled.error,
        explained=ruled.explained,
        share=worse.share,
        place=worse.place,
        complaints=(*own.complaints, *ruled.complaints),
        notes=(*ruled.notes, *said),
    )


def with_blind_spots(
    verdict: Judgement, judge: Judge, reference: Reference, outputs: Mapping[str, torch.Tensor]
) -> Judgement:
    """`verdict`, on outputs that `judge` found right, with a note on the damage to them that it
    accepts; unproven where that is all damage, or zeros.

    A judge of samples rightly accepts them in any order: what it cannot see is said, not refused.
    """
    accepted = []
    tried = 0
    for kind, damage in _DAMAGES.items():
        # torch computes with few dtypes of eight bits, and with few unsigned ones
        damaged = {name: damage(_widest(one)).to(one.dtype) for name, one in outputs.items()}
        if all(same_bytes(one, outputs[name]) for name, one in damaged.items()):
            continue
        tried += 1
        with suppress(Exception):  # a judge that raises on nonsense accepts none of it
            if judged(judge, reference, damaged).ok:
                accepted.append(kind)
    if not accepted:
        return verdict
    note = f"the workload's own judge accepts outputs that are {', '.join(accepted)}"
    unproven = len(accepted) == tried or ZEROED in accepted
    return replace(verdict, notes=(*verdict.notes, note), unproven=unproven)


def _lines(
    judge: Judge, reference: Reference, outputs: Mapping[str, torch.Tensor]
) -> Mapping[str, tuple[float, float]]:
    inputs = [_wide(tensor) for tensor in reference.problem.inputs]
    expected = {name: _shaped(one, outputs[name]) for name, one in reference.expected.items()}
    found = {name: _wide(one) for name, one in outputs.items()}
    return judge(inputs, ByName(found), ByName(expected))


def _shuffled(tensor: torch.Tensor) -> torch.Tensor:
    order = torch.randperm(tensor.numel(), generator=torch.Generator().manual_seed(0))
    return tensor.reshape(-1)[order.to(tensor.device)].reshape(tensor.shape)


def _one_changed(tensor: torch.Tensor) -> torch.Tensor:
    """The element in the middle is no longer what it was."""
    flat = tensor.flatten().clone()
    if flat.numel():
        middle = flat.numel() // 2
        found = flat[middle]
        flat[middle] = 1 - found if found.dtype is torch.int64 else 2 * (found.abs() + 1)
    return flat.view(tensor.shape)


ZEROED = "zeroed"
_DAMAGES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    ZEROED: lambda tensor: tensor.new_zeros(tensor.shape),
    "shuffled": _shuffled,
    "changed in one element": _one_changed,
}


def _verdict(name: str, error: float, allowed: float) -> Verdict:
    error, allowed = float(error), float(allowed)
    right = math.isfinite(error) and error <= allowed
    share = 2.0
    if right:
        share = error / allowed if allowed > 0 else 0.0
    elif math.isfinite(error) and allowed > 0:
        share = error / allowed
    return Verdict(
        0.0,
        0.0,
        Fault(share, f"{name}: {error:.3g}, allowed {allowed:.3g} by the workload's own judge"),
    )


def _shaped(expected: Expected, actual: torch.Tensor) -> torch.Tensor:
    """The reference's values in the output's shape where it answers for all of it; or its rows."""
    values = _wide(expected.values)
    return values.reshape(actual.shape) if expected.index is None else values


def _widest(tensor: torch.Tensor) -> torch.Tensor:
    """Integers and bools, too: 1 less a bool is the other one."""
    is_whole = not (tensor.is_floating_point() or tensor.is_complex())
    return tensor.to(torch.int64) if is_whole else _wide(tensor)


def _wide(tensor: torch.Tensor) -> torch.Tensor:
    if tensor.is_complex():
        return tensor.to(torch.complex128)
    return tensor.to(torch.float64) if tensor.is_floating_point() else tensor
