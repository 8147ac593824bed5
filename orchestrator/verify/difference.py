"""How far an output is from the right answer: by block, by row, in float64, and never hidden in one norm.

The error of an output is the largest, over blocks, of the relative Frobenius error; a row (a vector along the last
dimension) has a looser budget of its own, so that one wrong row cannot drown in a block of many.

A block or row whose reference is next to nothing (a gradient that cancels) is measured against a small share of what is
typical of the whole output, since relative to itself it would be all rounding error.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.verify.output_rows import Fetch, Places, check_shape, chunks, fault, fetcher
from orchestrator.workload import Expected

if TYPE_CHECKING:
    import torch

FLOORS = {"float64": 1e-12, "float32": 1e-5, "tf32": 1e-3, "float16": 3e-3, "bfloat16": 1e-2}
YARDSTICK_FACTOR = 2.0  # flash-attention's tests allow twice the error of a plain implementation in the same dtype
ROW_SLACK = 100.0  # a single row may be off by this many times a block's budget ...
ROW_CAP = 0.5  # ... but a row that is simply wrong (error about 1) never passes
BLOCK_SHARE = 0.01  # the least that a block's error is measured against, as a share of the typical norm
ROW_SHARE = 0.02
NOTHING = 1e-12  # root mean square below which a float64 result is the rounding of 0


@dataclass(frozen=True)
class Budget:
    """The largest relative error allowed of a block, and of a row."""

    block: float
    row: float

    @classmethod
    def of(cls, tolerance: float) -> Budget:
        """A block's tolerance, and what follows from it for a row."""
        return cls(tolerance, min(ROW_CAP, ROW_SLACK * tolerance))

    def widened(self, yardstick: Mapping[str, Difference]) -> Budget:
        """At least twice the error of a straightforward implementation in the trial's own dtype."""
        block = max((one.block_error for one in yardstick.values()), default=0.0)
        row = max((one.row_error for one in yardstick.values()), default=0.0)
        if not math.isfinite(block + row):
            return self  # a yardstick that overflows excuses nothing
        factor = YARDSTICK_FACTOR
        return Budget(max(self.block, factor * block), max(self.row, min(ROW_CAP, factor * row)))


@dataclass(frozen=True)
class Difference:
    """One output against its reference.

    Attributes:
        block_error: largest relative Frobenius error of a block; `block_place` says where.
        row_error: largest relative error of a row; `row_place` says where.
        fault: what rules the output out whatever the error: a value that is not finite, or not 0 where 0 is due.
    """

    block_error: float
    block_place: str
    row_error: float
    row_place: str
    fault: str = ""

    def complaint(self, budget: Budget) -> str:
        """Why this output fails the budget; empty when it passes."""
        if self.fault:
            return self.fault
        if not self.block_error <= budget.block:
            return f"{self.block_place}: relative error {self.block_error:.1e}, allowed {budget.block:.0e}"
        if not self.row_error <= budget.row:
            return f"{self.row_place}: relative error {self.row_error:.1e} of this row, allowed {budget.row:.0e}"
        return ""


@dataclass(frozen=True)
class Agreement:
    """Whether outputs agree with their reference: largest block error, what was allowed, and what is wrong.

    `notes` are about how they were made, and make them no less right.
    """

    error: float
    budget: Budget
    complaints: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """No output has anything wrong with it."""
        return not self.complaints

    def __str__(self) -> str:
        return "; ".join(self.complaints) or f"relative error {self.error:.1e}, allowed {self.budget.block:.0e}"


def compare(
    actual: Mapping[str, torch.Tensor], expected: Mapping[str, Expected], budget: Budget
) -> tuple[Agreement, dict[str, Difference]]:
    """Every expected output against the actual one of its name.

    Raises:
        ShapeError: an output has another shape than its reference.
    """
    differences = {name: difference(name, actual[name], answer) for name, answer in expected.items()}
    return judge(differences, budget), differences


def judge(differences: Mapping[str, Difference], budget: Budget) -> Agreement:
    """The verdict on differences that were already worked out."""
    complaints = tuple(complaint for one in differences.values() if (complaint := one.complaint(budget)))
    error = max((one.block_error for one in differences.values()), default=0.0)
    return Agreement(error, budget, complaints)


def difference(name: str, actual: torch.Tensor, expected: Expected) -> Difference:
    """One output, of any strides, against its reference; computed where the reference lives, in chunks."""
    check_shape(name, actual, expected)
    wrong = fault(name, actual, expected)
    if wrong:
        return Difference(math.inf, name, math.inf, name, wrong)
    return _difference(Places(name, actual, expected), fetcher(actual, expected))


def yardstick_difference(name: str, actual: torch.Tensor, expected: Expected, values: torch.Tensor) -> Difference:
    """What another answer for the same rows, `values`, would get in the place of `actual`."""
    return _difference(Places(name, actual, expected), lambda start, stop: values[start:stop])


def _difference(place: Places, fetch: Fetch) -> Difference:
    squares, norms = _row_sums(place.expected, fetch)
    block_error, worst_block = _largest(*_by_block(squares, norms, place.blocks), share=BLOCK_SHARE)
    row_error, worst_row = _largest(squares, norms, _ones(norms), share=ROW_SHARE)
    return Difference(block_error, place.of_block(worst_block), row_error, place.of_row(worst_row))


def _row_sums(expected: Expected, fetch: Fetch) -> tuple[torch.Tensor, torch.Tensor]:
    """Per row of the reference: mean square of the difference, and of the reference; float64."""
    import torch

    rows, width = expected.values.shape
    squares = torch.zeros(rows, dtype=torch.float64, device=expected.values.device)
    norms = torch.zeros_like(squares)
    for start, stop in chunks(rows, width):
        right = expected.values[start:stop].to(torch.float64)
        norms[start:stop] = right.square().mean(-1)
        squares[start:stop] = (fetch(start, stop).to(right) - right).square_().mean(-1)
    return squares, norms


def _by_block(
    squares: torch.Tensor, norms: torch.Tensor, blocks: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The sums of each block, and how many rows it has."""
    count = int(blocks.max()) + 1 if blocks.numel() else 0
    sums = squares.new_zeros(3, count)
    for row, values in zip(sums, (squares, norms, _ones(norms)), strict=True):
        row.index_add_(0, blocks, values)
    return sums[0], sums[1], sums[2]


def _largest(squares: torch.Tensor, norms: torch.Tensor, rows: torch.Tensor, share: float) -> tuple[float, int]:
    """The largest relative error and where; tiny norms are measured against `share` of the typical one."""
    if not norms.numel():
        return 0.0, 0
    present = rows[norms > 0].sum()
    typical = norms.sum() / present.clamp(min=1)
    if float(typical) <= NOTHING**2:
        typical = typical.new_ones(())
    least = share**2 * typical * rows.clamp(min=1)
    errors = (squares / norms.maximum(least)).sqrt()
    worst = int(errors.nan_to_num(math.inf).argmax())
    return float(errors[worst]), worst


def _ones(like: torch.Tensor) -> torch.Tensor:
    return like.new_ones(like.shape)
