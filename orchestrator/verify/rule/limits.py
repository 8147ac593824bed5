"""The limits of an output's errors, in units of what rounding explains of each element.

An error that is small beside the whole may be large beside its element, its row or its column, so
that errors are looked at one by one, by tile, by slice and in all: the more numbers are added up,
the tighter the limit. What is systematic (a factor of 1.002) is no noise however small it is: the
gain of the error along the output is held against that of the draws.

    group     quantity                                      limit
    element   |e| / n                                       14; 8 in outputs of up to 1000 elements
    tile      sqrt(sum e^2 / sum n^2) of 64 neighbours      8
    slice     that, and sqrt(mean (e/n)^2), of m elements   5 + 3 / sqrt(m)
    whole     the same two                                  1.3 + 6.7 / sqrt(m)
    gain      |sum e y| / sum y^2                           4, of slices 5.5, times S

where S is sqrt(G^2 + (b/16)^2).

Gradients are rounded at more places than a fused reference shows: the whole of one may be off by
1.5 + 6.7 / sqrt(m), an element or a tile by six times what rounding explains of its row, so that
the row's own limit decides, a slice's gain by 8. For a sum over the row that should cancel (of a
softmax's gradients, in that of its maximum) leaves the rounding of all its terms in one place.

Gains are asked of groups whose values are larger than their noise.

A slice is an index of a dimension, a row (all that share every index but the last), or a block that
the reference names. The constants were fitted to a corpus of right and wrong implementations:
docs/design/verifying.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from orchestrator.verify.rule.noise import GRIDS, ulp
from orchestrator.verify.rule.spread import Rows, Spread
from orchestrator.verify.rule.sums import (
    TILE,
    Sums,
    ratio,
    relative,
    relative_of,
    tile_sums,
)

SMALL_OUTPUT = 1000
ELEMENT, ELEMENT_OF_FEW, TILE_LIMIT = 14.0, 8.0, 8.0
SLICE, WHOLE, WHOLE_GRADIENT = (5.0, 3.0), (1.3, 6.7), (1.5, 6.7)  # a + b / sqrt(m)
GAIN, GAIN_OF_SLICE, GAIN_OF_GRADIENT = 4.0, 5.5, 8.0
LEAST_FOR_GAIN = 16  # elements
OF_ROW = 6.0  # times what rounding explains of a row, which one place of a gradient may be off by
# what the reference itself does in the working dtype is right up to so many times a limit, and what
# is so many times as far off as that
NOT_FAR, AS_PLAIN = 4.0, 1.25
HALF_ULP = 0.5 + 2.0**-6  # of the output's dtype: an error that rounding itself makes


@dataclass(frozen=True)
class Finding:
    """The worst of one kind of group.

    Attributes:
        group: element, tile, row, column, dim 0, block, whole, gain, or gain of one of these.
        share: quantity over limit; above 1 it is wrong.
        units: the quantity: errors in units of noise; for gains the gain itself.
        limit: largest that is allowed.
        at: number of the group: (row, column) of an element or tile, else (number,).
        relative: relative error of that group, sqrt(sum e^2 / sum y^2).
    """

    group: str
    share: float
    units: float
    limit: float
    at: tuple[int, ...]
    relative: float


@dataclass(frozen=True)
class Comparison:
    """One output against its reference.

    Attributes:
        findings: the worst of each kind of group.
        wrong: how many elements are beyond the element's limit.
        rows: numbers of the rows that hold them.
        columns: (first, beyond the last) column of them.
        relative: relative error of these rows.
        count: how many were compared.
        block_error: relative error of the worst block (of the whole where there are none).
        explained: the relative error of the whole that its limit allows.
    """

    findings: tuple[Finding, ...]
    wrong: int
    rows: torch.Tensor
    columns: tuple[int, int]
    relative: float
    count: int
    block_error: float
    explained: float

    @property
    def worst(self) -> Finding:
        """The finding with the largest share of its limit; a gain only where it is all that is
        wrong.
        """
        local = max(
            (one for one in self.findings if "gain" not in one.group), key=lambda one: one.share
        )
        return local if local.share > 1 else max(self.findings, key=lambda one: one.share)

    def is_no_worse(self, plain: Comparison) -> bool:
        """Whether what is beyond its limit here is so in `plain`, too, as far, and not far."""
        shares = {one.group: one.share for one in plain.findings}
        beyond = [one for one in self.findings if one.share > 1]
        return all(
            one.share <= AS_PLAIN * shares.get(one.group, 0.0) <= AS_PLAIN * NOT_FAR
            for one in beyond
        )


def within_half_ulp(rows: Rows, part: slice, actual: torch.Tensor) -> bool:
    """Whether rounding right values to the output's dtype explains all of some rows (float64)."""
    values = rows.values[part]
    return bool(((actual - values).abs() <= HALF_ULP * ulp(values, rows.dtype)).all())


class Examination:
    """Adds up the errors of one output, chunk by chunk, and compares them with their limits."""

    def __init__(
        self,
        spread: Spread,
        *,
        gain_floor: float | None,
        scale: float = 1.0,
        gradient: bool = False,
    ) -> None:
        """`gain_floor` is b; None: no gain is asked. `scale` multiplies the noise, where less of it
        could be drawn. `gradient`: whether the output is one.
        """
        self._gradient = gradient
        self._spread = spread
        self._rows = spread.rows
        self._gain_floor = gain_floor
        self._scale = scale
        self._typical = spread.typical()
        rows, width = self._rows.values.shape
        self._by_row = self._rows.values.new_zeros(5, rows)
        self._by_column = self._rows.values.new_zeros(5, width)
        limit = ELEMENT_OF_FEW if self._rows.count <= SMALL_OUTPUT else ELEMENT
        self._element = Finding("element", 0.0, 0.0, limit, (0, 0), 0.0)
        self._tile = Finding("tile", 0.0, 0.0, TILE_LIMIT, (0, 0), 0.0)
        self._wrong_by_row = torch.zeros(rows, dtype=torch.int64, device=self._by_row.device)
        self._columns = (width, 0)

    def add(self, part: slice, actual: torch.Tensor) -> None:
        """The output's values of some rows, float64, finite."""
        values = self._rows.values[part]
        noise = self._spread.noise(part, self._typical, self._scale)
        errors = actual - values
        along = Sums.of_rows(errors * values), (errors * values).sum(0)
        squares = errors.square_()
        units = squares / noise
        of_row = noise.sum(1, keepdim=True) if self._gradient else noise.new_zeros(len(noise), 1)
        least = (OF_ROW / self._element.limit) ** 2 * of_row
        if self._gradient:
            units = squares / torch.maximum(noise, least)
        self._look_at_elements(part, squares, units, values)
        self._look_at_tiles(part, squares, noise, (OF_ROW / TILE_LIMIT) ** 2 * of_row, values)
        for number, terms in enumerate((squares, noise, units)):
            self._by_row[number, part] = terms.sum(1)
            self._by_column[number] += terms.sum(0)
        self._by_row[3, part], norms = along[0], values.square()
        self._by_column[3] += along[1]
        self._by_row[4, part] = norms.sum(1)
        self._by_column[4] += norms.sum(0)

    def _look_at_elements(
        self, part: slice, squares: torch.Tensor, units: torch.Tensor, values: torch.Tensor
    ) -> None:
        if not units.numel():
            return
        limit = self._element.limit
        wrong = units > limit * limit
        if bool(wrong.any()):
            self._wrong_by_row[part] = wrong.sum(1)
            columns = wrong.any(0).nonzero()[:, 0]
            self._columns = (
                min(self._columns[0], int(columns[0])),
                max(self._columns[1], int(columns[-1]) + 1),
            )
        worst = int(units.argmax())
        found = math.sqrt(float(units.view(-1)[worst]))
        if found > self._element.units:
            row, column = divmod(worst, units.shape[1])
            off = relative(float(squares[row, column]), float(values[row, column].square()))
            self._element = Finding(
                "element", found / limit, found, limit, (part.start + row, column), off
            )

    def _look_at_tiles(
        self,
        part: slice,
        squares: torch.Tensor,
        noise: torch.Tensor,
        least: torch.Tensor,
        values: torch.Tensor,
    ) -> None:
        if squares.shape[1] < 2:
            return
        tiles = ratio(tile_sums(squares), torch.maximum(tile_sums(noise), least))
        if not tiles.numel():
            return
        worst = int(tiles.argmax())
        found = math.sqrt(float(tiles.view(-1)[worst]))
        if found > self._tile.units:
            row, tile = divmod(worst, tiles.shape[1])
            columns = slice(tile * TILE, (tile + 1) * TILE)
            off = relative(
                float(squares[row, columns].sum()), float(values[row, columns].square().sum())
            )
            self._tile = Finding(
                "tile", found / TILE_LIMIT, found, TILE_LIMIT, (part.start + row, tile), off
            )

    def result(self) -> Comparison:
        """What all that was added comes to."""
        rows, width = self._rows.values.shape
        counts = torch.full((rows,), width, dtype=torch.float64, device=self._by_row.device)
        by_row = Sums(self._by_row, counts)
        by_column = Sums(self._by_column, counts.new_full((width,), rows))
        one = torch.zeros(rows, dtype=torch.int64, device=counts.device)
        whole = by_row.grouped(one, 1)
        findings = [self._element, self._tile]
        if rows > 1 and width > 1:
            findings += [_worst("row", by_row), _worst("column", by_column)]
        limit = WHOLE_GRADIENT if self._gradient else WHOLE
        findings.append(_worst("whole", whole, limit))
        findings += self._gains("whole", whole, GAIN)
        of_slice = GAIN_OF_GRADIENT if self._gradient else GAIN_OF_SLICE
        if rows > 1 and width > 1:
            findings += self._gains("column", by_column, of_slice)
        block_error = float(relative_of(whole)[0])
        for kind, group, count, asked in self._rows.groups():
            sums = by_row.grouped(group, count)
            findings.append(_worst(kind, sums))
            if asked:
                findings += self._gains(kind, sums, of_slice)
            if kind == "block":
                block_error = float(relative_of(sums).max())
        share = ratio(whole.values[1], whole.values[4]).nan_to_num(posinf=0.0)  # of nothing but 0
        explained = math.sqrt(float(share[0])) * _limit(limit, whole.counts)[0]
        wrong_rows = self._wrong_by_row.nonzero()[:, 0]
        squares, norms = (float(by_row.values[term, wrong_rows].sum()) for term in (0, 4))
        return Comparison(
            findings=tuple(findings),
            wrong=int(self._wrong_by_row.sum()),
            rows=wrong_rows,
            columns=self._columns,
            relative=relative(squares, norms),
            count=self._rows.count,
            block_error=block_error,
            explained=float(explained),
        )

    def _gains(self, kind: str, sums: Sums, factor: float) -> list[Finding]:
        """The largest gain of one kind of group beside that of the draws; half of it its own, half
        its kind's mean.
        """
        if self._gain_floor is None or kind not in self._spread.gains:
            return []
        asked = (sums.counts >= LEAST_FOR_GAIN) & (sums.values[4] > sums.values[1])
        if not bool(asked.any()):
            return []
        drawn = ratio(self._spread.gains[kind], sums.values[4].square()) / max(
            1, self._spread.draws
        )
        if len(drawn) > 1:
            drawn = (drawn + drawn[asked].mean()) / 2
        limits = factor * (drawn * self._scale**2 + (self._gain_floor / 16) ** 2).sqrt()
        gains = torch.where(asked, sums.gains(), 0)
        shares = gains / limits
        at = int(shares.argmax())
        return [
            Finding(
                "gain" if kind == "whole" else f"gain of {kind}",
                float(shares[at]),
                float(gains[at]),
                float(limits[at]),
                (at,),
                float(relative_of(sums)[at]),
            )
        ]


def gain_floor(dtype: torch.dtype, unit: float, precision: str) -> float:
    """b: what rounding may do alike to all elements.

    A constant's own rounding (1/0.9, twiddle factors) is the same for all. In float32 so are the
    accumulators of tensor cores, which cut instead of rounding: torch's own attention on an H200,
    as three tf32 products, is off by 4.0e-7, 4.2e-7 and 4.4e-7 for all values alike at 1024, 2048
    and 4096 keys. A whole output may be off by twice that, 9.5e-7.
    """
    if precision == "tf32":
        return 2.0**-8  # truncated operands shrink a product by up to 2^-10
    if dtype in GRIDS and dtype is not torch.float32:
        return max(unit, 2.0 ** -(GRIDS[dtype][0] + 1))
    units = 64 if dtype is torch.float32 else 16
    return max(unit, units * torch.finfo(dtype).eps / 2)


def _worst(kind: str, sums: Sums, limit: tuple[float, float] = SLICE) -> Finding:
    quantities, limits = sums.quantities(), _limit(limit, sums.counts)
    if kind != "whole":  # a slice of one is an element
        quantities = torch.where(sums.counts > 1, quantities, 0)
    shares = quantities / limits
    at = int(shares.argmax())
    return Finding(
        kind,
        float(shares[at]),
        float(quantities[at]),
        float(limits[at]),
        (at,),
        float(relative_of(sums)[at]),
    )


def _limit(limit: tuple[float, float], counts: torch.Tensor) -> torch.Tensor:
    return limit[0] + limit[1] / counts.clamp(min=1).sqrt()
