"""The rows of an output, and where they lie: a row is a vector along the last dimension.

Outputs may have any strides; nothing here copies one whole, and everything goes through them in chunks.
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


def check_shape(name: str, actual: torch.Tensor, expected: Expected) -> None:
    """That an output can hold the rows of its reference.

    Raises:
        ShapeError: it cannot.
    """
    shape, leading = tuple(actual.shape), tuple(actual.shape[:-1])
    if isinstance(expected, WholeAnswer) and shape != expected.shape:
        raise ShapeError(f"{name} has shape {shape}, expected {expected.shape}")
    rows, width = expected.values.shape
    if (shape[-1] if shape else 1) != width:
        raise ShapeError(f"{name} has shape {shape}, expected rows of width {width}")
    if expected.index is None:
        fits = math.prod(leading) == rows
    else:
        fits = len(expected.index) == len(leading) and all(
            int(index.max()) < size for index, size in zip(expected.index, leading, strict=True) if index.numel()
        )
    if not fits:
        raise ShapeError(f"{name} has shape {shape}, which does not hold the {rows} rows of the reference")


def fault(name: str, actual: torch.Tensor, expected: Expected) -> str:
    """Anything not finite anywhere, or not exactly 0 where 0 is due, in words."""
    import torch

    zeros = None
    if expected.zeros is not None:
        zeros = expected.zeros.expand(actual.shape[:-1]).reshape(-1).to(actual.device)
    for start, rows in _all_rows(actual):
        finite = torch.isfinite(rows).all(-1)
        if not bool(finite.all()):
            first = _first_place(name, actual, start, ~finite)
            return f"{first}: not finite (NaN or infinity)"
        if zeros is not None and bool((wrong := (rows != 0).any(-1) & zeros[start : start + len(rows)]).any()):
            return f"{_first_place(name, actual, start, wrong)}: must be exactly 0"
    return ""


def _first_place(name: str, actual: torch.Tensor, start: int, wrong: torch.Tensor) -> str:
    row = wrong.nonzero()[0] + start
    return _spelled(name, [str(int(index)) for index in _unravelled(row, actual.shape[:-1])])


class Places:
    """Names the rows and blocks of a reference by their index in the output."""

    def __init__(self, name: str, actual: torch.Tensor, expected: Expected) -> None:
        self._name = name
        self._leading = actual.shape[:-1]
        self.expected = expected
        self.blocks = self._blocks()

    def _blocks(self) -> torch.Tensor:
        """(rows,) int64: the block of each row."""
        import torch

        values, block = self.expected.values, self.expected.block
        if block is not None:
            return _renumbered(block.to(values.device))
        number = torch.zeros(len(values), dtype=torch.int64, device=values.device)
        for index, size in list(zip(self._index(), self._leading, strict=True))[:-1]:
            number = number * size + index
        return _renumbered(number)

    def of_row(self, row: int) -> str:
        """The row by its index in the output."""
        return _spelled(self._name, [str(int(index[row])) for index in self._index() if index.numel()])

    def of_block(self, number: int) -> str:
        """The block by the range it spans in each dimension."""
        rows = (self.blocks == number).nonzero()[:, 0]
        if not rows.numel():
            return self._name
        spans = [(int(index[rows].min()), int(index[rows].max())) for index in self._index()]
        return _spelled(self._name, [str(low) if low == high else f"{low}..{high}" for low, high in spans])

    def _index(self) -> tuple[torch.Tensor, ...]:
        import torch

        device = self.expected.values.device
        if self.expected.index is not None:
            return tuple(index.to(device) for index in self.expected.index)
        rows = torch.arange(len(self.expected.values), device=device)
        return _unravelled(rows, self._leading)


def _unravelled(rows: torch.Tensor, sizes: Sequence[int]) -> tuple[torch.Tensor, ...]:
    """Row numbers as one index per dimension. torch's own would import sympy: a second, in every process."""
    found: list[torch.Tensor] = []
    for size in reversed(sizes):
        found.insert(0, rows % size)
        rows = rows // size
    return tuple(found)


def _renumbered(blocks: torch.Tensor) -> torch.Tensor:
    """Block numbers from 0, with few enough gaps to sum by."""
    import torch

    if not blocks.numel() or int(blocks.max()) <= 4 * blocks.numel():
        return blocks
    numbers: torch.Tensor = torch.unique(blocks, return_inverse=True)[1]
    return numbers


def _spelled(name: str, parts: list[str]) -> str:
    return f"{name}[{', '.join(parts)}]" if parts else name


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
        flat = actual.reshape(-1, width)
        return lambda start, stop: flat[start:stop]

    def strided(start: int, stop: int) -> torch.Tensor:
        return actual[_unravelled(torch.arange(start, stop, device=actual.device), leading)]

    return strided


def _all_rows(actual: torch.Tensor) -> Iterator[tuple[int, torch.Tensor]]:
    fetch, width = _numbered(actual), max(1, actual.shape[-1] if actual.ndim else 1)
    for start, stop in chunks(actual.numel() // width, width):
        yield start, fetch(start, stop)


def chunks(rows: int, width: int) -> Iterator[tuple[int, int]]:
    """(start, stop) of runs of rows, each of about CHUNK elements."""
    step = max(1, CHUNK // max(1, width))
    return ((start, min(rows, start + step)) for start in range(0, rows, step))
