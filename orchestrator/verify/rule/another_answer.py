"""Finds values that are another answer although they are small beside the largest of an output.

Limits are relative to the noise of an output's large values. Of one whose values are of many sizes,
1 / x^2 say, half might be 0 and keep every limit. Here each value is held against itself: many that
are off by more than half of themselves, where no draw explains it, are wrong.
"""

from __future__ import annotations

import torch

from orchestrator.verify.rule.exact import Fault
from orchestrator.verify.rule.outputs import FloatOutput, as_reals
from orchestrator.verify.rule.spread import grid_noise
from orchestrator.workload import Expected

FEW, MANY = 16, 1 / 8  # how many values, and which share of all, must be so far off
HALF_OF_IT = 0.5  # relative error from which on a value is another answer
CERTAIN = 0.02  # noise of a value, relative to it, up to which no rounding explains that


def may_be_another(output: FloatOutput, actual: torch.Tensor) -> bool:
    """Whether so many values are far off that it is worth to draw noise for it."""
    found = sum(int(_far_off(output, actual, part).sum()) for part in output.rows.chunks())
    return found >= _least(output)


def another_answer(
    output: FloatOutput, actual: torch.Tensor, plain: Expected | None
) -> Fault | None:
    """What is wrong; None: too few values are far off and beyond what the draws explain.

    Args:
        output: with its draws.
        actual: what an implementation returned.
        plain: what the reference gives in the working dtype: where that is as far off, nothing is
            said; None: it gives nothing.
    """
    found = 0
    beside = None if plain is None else plain.values.to(output.dtype)
    for part in output.rows.chunks():
        values = output.rows.values[part]
        noise = output.spread.squares[part] / max(1, output.spread.draws)
        noise = noise + grid_noise(values, output.rows.dtype)
        off = _far_off(output, actual, part) & (noise < (CERTAIN * values).square())
        if beside is not None:
            off &= ~_is_far(output, as_reals(beside[part]).contiguous(), part)
        found += int(off.sum())
    least = _least(output)
    if found < least:
        return None
    text = (
        f"{output.name}: {found} of {output.rows.count} values are off by more than half of "
        "themselves, and rounding explains less than a fiftieth of each: they are small beside "
        "the largest"
    )
    return Fault(found / least, text)


def _least(output: FloatOutput) -> float:
    return max(FEW, MANY * output.rows.count)


def _far_off(output: FloatOutput, actual: torch.Tensor, part: slice) -> torch.Tensor:
    return _is_far(output, output.fetch(actual)(part), part)


def _is_far(output: FloatOutput, found: torch.Tensor, part: slice) -> torch.Tensor:
    """Which values of some rows are another answer; not finite ones are judged elsewhere."""
    values = output.rows.values[part]
    off = (output.masked(found, part) - values).abs() > HALF_OF_IT * values.abs()
    return off & (values != 0)
