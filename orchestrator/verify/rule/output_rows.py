"""The rows of an output, and where they lie: a row is a vector along the last dimension.

Outputs may have any strides; nothing here copies one whole, and everything goes through them in
chunks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.workload import Expected

if TYPE_CHECKING:
    import torch

Fetch = Callable[[int, int], "torch.Tensor"]

CHUNK = 2**22  # elements looked at a time: bounds a comparison's own memory to some 100 MB


@dataclass(frozen=True)
class WholeAnswer(Expected):
    """All rows of an output whose shape is known."""

    shape: tuple[int, ...] = ()


class ShapeError(Exception):
    """An output of the wrong shape."""


def whole_answer(values: torch.Tensor) -> WholeAnswer:
    """All rows of an output whose right values these are."""
    shape = tuple(values.shape)
    rows = values.reshape(math.prod(shape[:-1]), shape[-1] if shape else 1)
    return WholeAnswer(rows, shape=shape)


def check_shape(name: str, actual: torch.Tensor, expected: Expected) -> None:
    """That an output can hold the rows of its reference.

    Raises:
        ShapeError: it cannot.
    """
    shape, leading = tuple(actual.shape), tuple(actual.shape[:-1])
    if isinstance(expected, WholeAnswer) and shape != expected.shape:
        hint = ""
        if sorted(shape) == sorted(expected.shape):
            hint = ": a transpose is missing?"
        raise ShapeError(f"{name}: returned shape {shape}, expected {expected.shape}{hint}")
    rows, width = expected.values.shape
    if (shape[-1] if shape else 1) != width:
        raise ShapeError(f"{name}: returned shape {shape}, expected rows of width {width}")
    if expected.index is None:
        fits = math.prod(leading) == rows
    else:
        fits = len(expected.index) == len(leading) and all(
            int(index.max()) < size
            for index, size in zip(expected.index, leading, strict=True)
            if index.numel()
        )
    if not fits:
        raise ShapeError(
            f"{name}: returned shape {shape}, which does not hold the {rows} rows of the reference"
        )


def fault_anywhere(name: str, actual: torch.Tensor, expected: Expected, *, finite: bool) -> str:
    """What is wrong in any row, answered for or not, in words; empty where nothing is.

    `finite` asks for finite values everywhere.
    """
    import torch

    zeros = None
    if expected.zeros is not None:
        zeros = expected.zeros.expand(actual.shape[:-1]).reshape(-1).to(actual.device)
    if zeros is None and not finite:
        return ""
    for start, rows in _all_rows(actual):
        if rows.dtype.itemsize == 1:  # no 8-bit float knows what is finite
            rows = rows.to(torch.float32)
        if finite and not all_finite(rows):
            found = torch.isfinite(rows).all(-1)
            return f"{_first_place(name, actual, start, ~found)}: not finite (NaN or infinity)"
        if zeros is not None:
            due = zeros[start : start + len(rows)]
            if bool((rows[due] != 0).any()):
                wrong = (rows != 0).any(-1) & due
                return f"{_first_place(name, actual, start, wrong)}: must be exactly 0"
    return ""


def all_finite(values: torch.Tensor) -> bool:
    """Whether there is neither an infinity nor NaN: in one pass, in no memory of its own."""
    import torch

    if not values.numel():
        return True
    if values.is_complex():
        values = torch.view_as_real(values.resolve_conj())
    low, high = torch.aminmax(values)
    return math.isfinite(float(low)) and math.isfinite(float(high))


def _first_place(name: str, actual: torch.Tensor, start: int, wrong: torch.Tensor) -> str:
    row = wrong.nonzero()[0] + start
    parts = [str(int(index)) for index in unravelled(row, actual.shape[:-1])]
    return f"{name}[{', '.join(parts)}]" if parts else name


def unravelled(rows: torch.Tensor, sizes: Sequence[int]) -> tuple[torch.Tensor, ...]:
    """Row numbers as one index per dimension. torch's own would import sympy: a second, in every
    process.
    """
    found: list[torch.Tensor] = []
    for size in reversed(sizes):
        found.insert(0, rows % size)
        rows = rows // size
    return tuple(found)


def renumbered(blocks: torch.Tensor) -> torch.Tensor:
    """Block numbers from 0, with few enough gaps to sum by."""
    import torch

    if not blocks.numel() or int(blocks.max()) <= 4 * blocks.numel():
        return blocks
    numbers: torch.Tensor = torch.unique(blocks, return_inverse=True)[1]
    return numbers


def fetcher(actual: torch.Tensor, expected: Expected) -> Fetch:
    """(start, stop) -> those rows of the reference, taken from the actual output."""
    if expected.index is None:
        return _numbered(actual)
    index = tuple(part.to(actual.device) for part in expected.index)
    return lambda start, stop: actual[tuple(part[start:stop] for part in index)]


def _numbered(actual: torch.Tensor) -> Fetch:
    """(start, stop) -> those rows of a tensor of any strides, without copying the whole."""
    import torch

    width, leading = (actual.shape[-1] if actual.ndim else 1), actual.shape[:-1]
    if actual.ndim < 2 or actual.is_contiguous():
        flat = actual.reshape(math.prod(leading), width)
        return lambda start, stop: flat[start:stop]

    def strided(start: int, stop: int) -> torch.Tensor:
        return actual[unravelled(torch.arange(start, stop, device=actual.device), leading)]

    return strided


def _all_rows(actual: torch.Tensor) -> Iterator[tuple[int, torch.Tensor]]:
    fetch, width = _numbered(actual), max(1, actual.shape[-1] if actual.ndim else 1)
    for start, stop in chunks(actual.numel() // width, width):
        yield start, fetch(start, stop)


def chunks(rows: int, width: int) -> Iterator[tuple[int, int]]:
    """(start, stop) of runs of rows, each of about CHUNK elements."""
    step = max(1, CHUNK // max(1, width))
    return ((start, min(rows, start + step)) for start in range(0, rows, step))
