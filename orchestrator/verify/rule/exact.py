"""Outputs of integers and bools, which have no rounding; and what a fault of any output is."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch

from orchestrator.verify.rule.noise import Noise
from orchestrator.verify.rule.output_rows import fetcher, unravelled
from orchestrator.workload import Expected

EXACT = {
    torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64,
    torch.uint16, torch.uint32, torch.uint64,
}  # fmt: skip


@dataclass(frozen=True)
class Fault:
    """What is wrong with one output.

    Attributes:
        share: quantity over limit, the larger the worse; infinity where there is no measure of it.
        text: the place and what is wrong there.
    """

    share: float
    text: str


@dataclass
class ExactOutput:
    """An output of integers or bools, which have no rounding: equal, or wrong.

    Attributes:
        values: (R, W), the reference's, int64 or bool.
        low, high: smallest and largest value of the draws; None before the first.
    """

    name: str
    expected: Expected
    shape: tuple[int, ...]
    dtype: torch.dtype
    values: torch.Tensor = field(init=False)
    low: torch.Tensor | None = None
    high: torch.Tensor | None = None

    def __post_init__(self) -> None:
        self.values = as_integers(self.expected.values)

    def add(self, drawn: Expected, _noise: Noise) -> None:
        """One more draw of the reference."""
        values = as_integers(drawn.values)
        self.low = values if self.low is None else torch.minimum(self.low, values)
        self.high = values if self.high is None else torch.maximum(self.high, values)

    def fault(self, actual: torch.Tensor) -> Fault | None:
        """The elements that are not the reference's nor, where the draws differ, among theirs."""
        found = as_integers(fetcher(actual, self.expected)(0, len(self.values))).to(
            self.values.device
        )
        wrong = found != self.values
        if self.low is not None and self.high is not None:
            low, high = torch.minimum(self.low, self.values), torch.maximum(self.high, self.values)
            wrong &= ~((low < high) & (found >= low) & (found <= high))
        count = int(wrong.sum())
        if count == 0:
            return None
        row, column = first_of(wrong)
        place = self._place(row, column)
        right = int(self.values[row, column])
        return Fault(
            math.inf,
            f"{count} of {wrong.numel()} elements differ, the first is {place}: "
            f"{int(found[row, column])}, expected {right}",
        )

    def largest(self) -> int:
        """The largest size of the reference's values."""
        return int(self.values.to(torch.float64).abs().max()) if self.values.numel() else 0

    def _place(self, row: int, column: int) -> str:
        if not self.shape:
            return self.name
        index, _ = index_of(self.expected, self.shape)
        return f"{self.name}[{', '.join([*(str(int(one[row])) for one in index), str(column)])}]"


def as_integers(values: torch.Tensor) -> torch.Tensor:
    """Integers as int64, uint64 by its bits; floats that a reference gives, rounded."""
    if values.dtype.is_floating_point:
        return values.to(torch.float64).round().to(torch.int64)
    return values.view(torch.int64) if values.dtype is torch.uint64 else values.to(torch.int64)


def index_of(
    expected: Expected, shape: tuple[int, ...]
) -> tuple[tuple[torch.Tensor, ...], tuple[int, ...]]:
    """The place of each row in the leading dimensions, and their sizes."""
    leading, device = shape[:-1], expected.values.device
    if expected.index is not None:
        return tuple(index.to(device) for index in expected.index), leading
    return unravelled(torch.arange(len(expected.values), device=device), leading), leading


def first_of(wrong: torch.Tensor) -> tuple[int, int]:
    """(row, column) of the first True of a matrix."""
    return divmod(int(wrong.reshape(-1).to(torch.uint8).argmax()), wrong.shape[1])
