"""Judges of a workload's own, for outputs that have more than one right answer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from orchestrator.verify.rule.judgement import Judgement, Reference, Verdict, joined
from orchestrator.verify.rule.outputs import Fault
from orchestrator.workload import Expected, Judge

if TYPE_CHECKING:
    import torch


def judged(judge: Judge, reference: Reference, outputs: Mapping[str, torch.Tensor]) -> Judgement:
    """The verdict of `judge` on the outputs that it names, and of the rule on the others."""
    inputs = [_wide(tensor) for tensor in reference.problem.inputs]
    expected = {name: _shaped(one, outputs[name]) for name, one in reference.expected.items()}
    lines = judge(inputs, {name: _wide(one) for name, one in outputs.items()}, expected)
    named = {name.split(":")[0].strip() for name in lines} & set(expected)
    found = [_verdict(name, *pair) for name, pair in lines.items()]
    others = [name for name in expected if named and name not in named]
    ruled = reference.judge(outputs, only=others)
    own = joined(found)
    worse = max((own, ruled), key=lambda one: one.share)
    return Judgement(
        error=ruled.error,
        explained=ruled.explained,
        share=worse.share,
        place=worse.place,
        complaints=(*own.complaints, *ruled.complaints),
        notes=(
            *ruled.notes,
            *(f"{name}: {error:.3g} of {allowed:.3g}" for name, (error, allowed) in lines.items()),
        ),
    )


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
    """The reference's values in the output's shape where it answers for all of it, else its rows."""
    values = _wide(expected.values)
    return values.reshape(actual.shape) if expected.index is None else values


def _wide(tensor: torch.Tensor) -> torch.Tensor:
    import torch

    if tensor.is_complex():
        return tensor.to(torch.complex128)
    return tensor.to(torch.float64) if tensor.is_floating_point() else tensor
