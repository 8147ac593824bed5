"""The first elements of a call's outputs that are wrong, beside the right ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from orchestrator.formatting import number
from orchestrator.usercode.implementation import Implementation
from orchestrator.verify.call import tensors_of
from orchestrator.verify.expected import named
from orchestrator.verify.rule.output_rows import (
    ShapeError,
    check_shape,
    chunks,
    fetcher,
    unravelled,
    whole_answer,
)
from orchestrator.workload import Expected, Workload

SHOWN = 8  # elements of each output

Element = tuple[str, str, str]  # place, found, right


def outputs_of(
    returned: Any,
    implementation: Implementation,
    workload: Workload,
    inputs: tuple[torch.Tensor, ...],
) -> dict[str, torch.Tensor]:
    """What a call returned and what it wrote into its inputs, by name.

    Raises:
        AttemptEndedError: a leaf of what it returned is no tensor that can be judged.
    """
    found = {name: one.detach() for name, one in tensors_of(returned, implementation).items()}
    for name, one in zip(implementation.names(len(inputs)), inputs, strict=True):
        if name in workload.writes:
            found[name] = one.detach()
    return found


def wrong_elements(
    outputs: Mapping[str, torch.Tensor], answer: Any, allowed: float, *, was_wrong: bool = True
) -> list[str]:
    """How many elements of each output are wrong, and the first of them.

    A floating-point element is wrong if it is off by more than ten times `allowed` of its own size
    or of the root mean square of the output's finite elements, whichever is larger; any other, and
    where the right one is not finite, if it differs at all.

    Args:
        outputs: by name; where the reference names its outputs otherwise, in its order.
        answer: what the workload's reference returned.
        allowed: relative error that rounding explains, beside that to the output's own dtype.
        was_wrong: whether verification found an output to be wrong.
    """
    expected = {
        name: one for name, one in named(answer).items() if isinstance(one, torch.Tensor | Expected)
    }
    given = dict(outputs)
    if set(given) != set(expected) and len(given) == len(expected):
        given = dict(zip(expected, given.values(), strict=True))
    lines = []
    for name, right in expected.items():
        if name.startswith("grad_"):
            continue
        if name not in given:
            lines.append(f"  {name} is missing: returned {', '.join(given) or 'nothing'}")
            continue
        rows = right if isinstance(right, Expected) else whole_answer(right)
        explained = max(allowed, _rounding(given[name].dtype))
        found = _of_output(name, given[name], rows, explained)
        if not found:
            found = [f"  every element of {name} is right: within ten times what rounding explains"]
            if was_wrong:
                found[0] += "; the error is spread thinly, or shows in other calls or outputs only"
        lines += found
    return lines


def _rounding(dtype: torch.dtype) -> float:
    """The relative error by which values differ that were rounded to this dtype: a tenth of what
    is allowed for an element.
    """
    if dtype.is_floating_point or dtype.is_complex:
        return torch.finfo(dtype).eps / 4
    return 0.0


def _of_output(name: str, actual: torch.Tensor, expected: Expected, allowed: float) -> list[str]:
    """The wrong elements of one output; empty: there are none."""
    try:
        check_shape(name, actual, expected)
    except ShapeError as error:
        return [f"  {error}"]
    rows, width = expected.values.shape
    fetch = fetcher(actual, expected)
    values = expected.values.detach()
    if values.is_floating_point() and values.dtype.itemsize == 1:  # which know no `isfinite`
        values = values.float()
    floating = values.is_floating_point() or values.is_complex()
    scale = _scale(values) if floating else 0.0
    wide = torch.complex128 if values.is_complex() else torch.float64
    count, found = 0, list[Element]()
    for start, stop in chunks(rows, width):
        right, got = values[start:stop], fetch(start, stop).to(values.device)
        if floating:
            right, got = right.to(wide), got.to(wide)
            close = (got - right).abs() <= 10 * allowed * right.abs().clamp(min=scale)
            # any number is close to an infinity by its size
            close &= right.isfinite()
            wrong = ~(close | (got == right) | (got.isnan() & right.isnan()))
        else:
            wrong = got != right
        count += int(wrong.sum())
        for row, column in wrong.nonzero()[: SHOWN - len(found)].tolist():
            place = _place(name, start + row, column, actual, expected)
            found.append((place, _text(got[row, column]), _text(right[row, column])))
    if not found:
        return []
    share = 100 * count / (rows * width)
    head = f"  {count:,} of {rows * width:,} elements are wrong ({number(share, 1)} %)"
    lines = [f"{head}, the first of them:"]
    table = [("element", "got", "right"), *found]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for cells in table:
        padded = [f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True)]
        lines.append(f"    {'  '.join(padded)}")
    return lines


def _scale(values: torch.Tensor) -> float:
    """The root mean square of the finite elements; 0 without any."""
    finite = values[values.isfinite()].abs().double()
    if not finite.numel():
        return 0.0
    return float(finite.square().mean().sqrt())


def _place(name: str, row: int, column: int, actual: torch.Tensor, expected: Expected) -> str:
    """`output[0, 3, 7]`."""
    if not actual.ndim:
        return name
    if expected.index is not None:
        leading = [int(part[row]) for part in expected.index]
    else:
        leading = [int(part) for part in unravelled(torch.tensor(row), actual.shape[:-1])]
    return f"{name}[{', '.join(map(str, [*leading, column]))}]"


def _text(value: torch.Tensor) -> str:
    found = value.item()
    if isinstance(found, float | complex):
        return f"{found:.6g}"
    return str(found)
