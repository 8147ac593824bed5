"""One floating-point output beside its reference: is it settled without a draw, what does a draw
add, and what is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch

from orchestrator.verify.rule.exact import EXACT, Fault, first_of, index_of
from orchestrator.verify.rule.kinks import Kinks
from orchestrator.verify.rule.limits import (
    HALF_ULP,
    Comparison,
    Examination,
    Finding,
    within_half_ulp,
)
from orchestrator.verify.rule.noise import GRIDS, Noise, ulp
from orchestrator.verify.rule.output_rows import (
    all_finite,
    fault_anywhere,
    fetcher,
    renumbered,
)
from orchestrator.verify.rule.spread import Rows, Spread, grid_noise
from orchestrator.verify.rule.sums import TILE, ratio
from orchestrator.workload import Expected

Fetch = Callable[[int, int], torch.Tensor]

FLOATS = {*GRIDS, torch.float64, torch.complex64, torch.complex128, torch.complex32}
GRAD = "grad_"  # begins the name of a gradient
ORDER_ONE = 0.3  # relative error of what is not rounding but another answer
PARTS = {
    torch.complex32: torch.float16,
    torch.complex64: torch.float32,
    torch.complex128: torch.float64,
}


class UnknownDtypeError(Exception):
    """An output of a dtype that cannot be judged."""


def check_dtype(name: str, dtype: torch.dtype) -> None:
    """That outputs of this dtype can be judged.

    Raises:
        UnknownDtypeError: they cannot.
    """
    if dtype not in FLOATS and dtype not in EXACT:
        raise UnknownDtypeError(
            f"{name} is of {dtype}, which no rule is known for: return a dtype that is"
        )


@dataclass
class FloatOutput:
    """A floating-point or complex output.

    Attributes:
        expected: the reference's rows, float64 or complex128.
        plain: what the reference gives in the working dtype; None: not looked at.
        excused: (R, W) where that is not finite although the reference is: nothing is asked; None:
            nowhere.
        special: (R, W) where the reference is not finite, or beyond the dtype's largest number, or
            excused; None: nowhere.
        spread: what the draws gave so far.
    """

    name: str
    expected: Expected
    shape: tuple[int, ...]
    dtype: torch.dtype
    plain: Expected | None = None
    rows: Rows = field(init=False)
    spread: Spread = field(init=False)
    special: torch.Tensor | None = field(init=False)
    excused: torch.Tensor | None = field(init=False)

    def __post_init__(self) -> None:
        real = PARTS.get(self.dtype, self.dtype)
        values = as_reals(self.expected.values)
        largest = torch.finfo(real).max
        beyond = ~(values.abs() <= largest * (1 - near_largest(real)))
        self.special = self.excused = None
        if self.plain is not None:
            self.excused = ~as_reals(self.plain.values).isfinite() & ~beyond
            beyond |= self.excused
        if bool(beyond.any()):
            self.special = beyond
            values = values.masked_fill(beyond, 0.0)
        parts = 2 if self.dtype in PARTS else 1
        self.rows = Rows(
            values, real, *index_of(self.expected, self.shape), _blocks(self.expected), parts
        )
        self.spread = Spread(self.rows)

    def add(self, drawn: Expected, noise: Noise) -> None:
        """One more draw of the reference."""
        self.spread.add(noise.at_random(self.parts(drawn), self.rows.dtype))

    def parts(self, drawn: Expected) -> torch.Tensor:
        """(R, W): a draw's values as reals, 0 where the reference is not finite."""
        values = as_reals(drawn.values)
        return values if self.special is None else values.masked_fill(self.special, 0.0)

    def distance(self, drawn: Expected) -> float:
        """The relative distance of a draw from the reference."""
        values = self.parts(drawn)
        away = float((values - self.rows.values).nan_to_num_(0.0, 0.0, 0.0).square().sum())
        norm = float(self.rows.values.square().sum())
        return _root(away, norm)

    def fault(self, actual: torch.Tensor) -> Fault | None:
        """What is wrong whatever the noise: not finite, not the infinity that is due, not 0 where 0
        is due.
        """
        fetch = self.fetch(actual)
        for part in self.rows.chunks():
            values = fetch(part)
            if self.special is None and all_finite(values):
                continue
            wrong = ~values.isfinite()
            if self.special is not None:
                due = as_reals(self.expected.values[part])
                wrong = torch.where(self.special[part], ~self._is_due(values, due), wrong)
            if self.excused is not None:
                wrong &= ~self.excused[part]
            if not bool(wrong.any()):
                continue
            row, column = first_of(wrong)
            place = self.place("element", (part.start + row, column))
            right = "a finite value"
            if self.special is not None and bool(self.special[part.start + row, column]):
                right = f"{float(due[row, column]):g}"
            text = f"{place} is {float(values[row, column]):g}, expected {right}"
            return Fault(
                math.inf,
                f"{text}; {int(wrong.sum())} of {wrong.numel()} values are wrong in this way",
            )
        sampled = self.expected.index is not None and self.special is None
        text = fault_anywhere(self.name, actual, self.expected, finite=sampled)
        return Fault(math.inf, text) if text else None

    def _is_due(self, values: torch.Tensor, due: torch.Tensor) -> torch.Tensor:
        """Whether each value is what a reference that is not finite, or too large for the dtype,
        asks for.
        """
        largest = torch.finfo(self.rows.dtype).max
        same = (values == due) | (values.isnan() & due.isnan())
        overflown = values.isnan() | (values == torch.where(due > 0, math.inf, -math.inf))
        overflown |= values == torch.where(due > 0, largest, -largest)
        close = (values - due).abs() <= 4 * near_largest(self.rows.dtype) * due.abs()
        return torch.where(due.isfinite(), overflown | close, same)

    def beside(self, plain: Expected) -> FloatOutput:
        """The same output, asked for no more than the reference in the working dtype does."""
        return replace(self, plain=plain)

    def plain_error(self) -> float:
        """The relative error of the whole that the reference has in the working dtype."""
        return 0.0 if self.plain is None else self.distance(self.plain)

    def is_rounding(self, actual: torch.Tensor) -> bool:
        """Whether rounding the right values to the output's dtype explains all of it."""
        fetch = self.fetch(actual)
        return all(
            within_half_ulp(self.rows, part, self.masked(fetch(part), part))
            for part in self.rows.chunks()
        )

    def compare(
        self, actual: torch.Tensor, floor: float | None, scale: float, kinks: Kinks | None = None
    ) -> Comparison:
        """All errors beside their limits, but those that a slope at a kink explains."""
        fetch, right = self.fetch(actual), self.rows.values
        if kinks is None:
            return self._compared(fetch, floor, scale)

        def forgiving(part: slice) -> torch.Tensor:
            return kinks.forgiven(self.masked(fetch(part), part), right[part], part)

        return self._compared(forgiving, floor, scale)

    def compare_plain(
        self, plain: Expected, gain_floor: float | None, scale: float
    ) -> Comparison | None:
        """The same for what the reference gives in the working dtype; None: it is not finite."""
        values = as_reals(plain.values.to(self.dtype)).contiguous()
        if not all_finite(values if self.special is None else values[~self.special]):
            return None
        return self._compared(lambda part: values[part], gain_floor, scale)

    def _compared(
        self, fetch: Callable[[slice], torch.Tensor], gain_floor: float | None, scale: float
    ) -> Comparison:
        gradient = self.name.startswith(GRAD)
        examination = Examination(
            self.spread, gain_floor=gain_floor, scale=scale, gradient=gradient
        )
        for part in self.rows.chunks():
            examination.add(part, self.masked(fetch(part), part))
        return examination.result()

    def moved_values_differ(
        self, actual: torch.Tensor, inputs: Sequence[torch.Tensor]
    ) -> Fault | None:
        """What is wrong if all values are the inputs' own (or 0, or of the other sign): they have
        no rounding.

        None where they are not, or where nothing is wrong.
        """
        known = self.rows.values.new_zeros(1)
        for one in inputs:
            if one.is_floating_point():
                # in one dtype: torch puts no eight-bit floats beside others
                known = torch.cat([known, one.detach().reshape(-1).to(known).abs()])
        fetch = self.fetch(actual)
        for part in self.rows.chunks():
            values = self.rows.values[part]
            if not bool(torch.isin(values.abs(), known).all()):
                return None
            wrong = (self.masked(fetch(part), part) - values).abs() > HALF_ULP * ulp(
                values, self.rows.dtype
            )
            if bool(wrong.any()):
                row, column = first_of(wrong)
                place = self.place("element", (part.start + row, column))
                text = (
                    f"{place}: the values are the inputs' own, without rounding, and "
                    f"{int(wrong.sum())} differ"
                )
                return Fault(math.inf, text)
        return None

    def largest_share(self, actual: torch.Tensor, noise: torch.Tensor) -> tuple[float, float]:
        """(the largest e^2 / n^2 of any element, relative error of the worst block), where n^2 is
        given by row, (R,): up to 1 every group's limit is kept, for none is below 1.
        """
        fetch, values = self.fetch(actual), self.rows.values
        largest, sums = 0.0, values.new_zeros(2, len(values))
        for part in self.rows.chunks():
            errors = self.masked(fetch(part), part).sub(values[part]).square_()
            largest = max(largest, float(ratio(errors.amax(1), noise[part]).max()))
            sums[0, part], sums[1, part] = errors.sum(1), values[part].square().sum(1)
        block = self.rows.block
        if block is None or not len(block):
            return largest, _root(float(sums[0].sum()), float(sums[1].sum()))
        errors, norms = sums.new_zeros(2, int(block.max()) + 1).index_add_(1, block, sums)
        return largest, float(ratio(errors, norms).max().sqrt())

    def relative_error(self, actual: torch.Tensor) -> tuple[float, float]:
        """(relative error of the whole, that of rounding to the dtype's own grid)."""
        fetch, squares, norms, grid = self.fetch(actual), 0.0, 0.0, 0.0
        for part in self.rows.chunks():
            values = self.rows.values[part]
            squares += float((self.masked(fetch(part), part) - values).square().sum())
            norms += float(values.square().sum())
            grid += float(grid_noise(values, self.rows.dtype).sum())
        return _root(squares, norms), _root(grid, norms) if norms else 0.0

    def drawn_error(self) -> float:
        """The relative error of the whole that the draws have."""
        return _root(
            self.spread.typical() * self.rows.count, float(self.rows.values.square().sum())
        )

    def place(self, group: str, at: tuple[int, ...]) -> str:
        """A group of elements by its index in the output, as one would write it in Python."""
        kind = group.removeprefix("gain of ")
        leading = [":"] * len(self.rows.sizes)
        if kind in ("element", "tile", "row"):
            leading = [str(int(index[at[0]])) for index in self.rows.index]
        last, part = ":", ""
        if kind == "element":
            last, part = self._column(at[1])
        elif kind == "tile":
            start, stop = at[1] * TILE, min((at[1] + 1) * TILE, self.rows.values.shape[1])
            last = f"{start // self.rows.parts}:{-(-stop // self.rows.parts)}"
        elif kind == "column":
            last, part = self._column(at[0])
        elif kind.startswith("dim"):
            leading[int(kind.split()[1])] = str(at[0])
        elif kind == "block" and self.rows.block is not None:
            rows_of_block = (self.rows.block == at[0]).nonzero()[:, 0]
            leading = [_range(low, high) for low, high in self._spans(rows_of_block)]
        if kind in ("whole", "gain") or not self.shape:
            return self.name
        return f"{self.name}[{', '.join([*leading, last])}]{part}"

    def place_of(self, rows: torch.Tensor, columns: tuple[int, int]) -> str:
        """The smallest range of every dimension that holds these rows and columns, `:` for all of
        one; with the share of each range: `output[:, :, 1..3, :] (3 of 4 in dimension 2)`.
        """
        if not self.shape:
            return self.name
        start, stop = columns[0] // self.rows.parts, -(-columns[1] // self.rows.parts)
        spans = [*self._spans(rows), (start, stop - 1)]
        texts, shares = [], []
        for place, ((low, high), size) in enumerate(zip(spans, self.shape, strict=True)):
            is_whole = (low, high) == (0, size - 1)
            texts.append(":" if is_whole else _range(low, high))
            if 0 < high - low < size - 1:
                shares.append(f"{high - low + 1} of {size} in dimension {place}")
        if set(texts) == {":"}:
            return self.name
        share = f" ({', '.join(shares)})" if shares else ""
        return f"{self.name}[{', '.join(texts)}]{share}"

    def _spans(self, rows: torch.Tensor) -> list[tuple[int, int]]:
        return [(int(index[rows].min()), int(index[rows].max())) for index in self.rows.index]

    def _column(self, column: int) -> tuple[str, str]:
        """Index in the last dimension, and which part of a complex number."""
        if self.rows.parts == 1:
            return str(column), ""
        return str(column // 2), (".real", ".imag")[column % 2]

    def fetch(self, actual: torch.Tensor) -> Callable[[slice], torch.Tensor]:
        """Takes rows of what an implementation returned, as reals, to where the reference is."""
        take, device = fetcher(actual, self.expected), self.rows.values.device
        return lambda part: as_reals(take(part.start, part.stop).to(device))

    def masked(self, values: torch.Tensor, part: slice) -> torch.Tensor:
        """Values of some rows, 0 where the reference is not finite."""
        return values if self.special is None else values.masked_fill(self.special[part], 0.0)


def described(output: FloatOutput, comparison: Comparison, finding: Finding) -> Fault:
    """What is wrong in words: where, how far in units of noise, how many elements, and what this
    size looks like.
    """
    place, relative = output.place(finding.group, finding.at), finding.relative
    if finding.group.startswith("gain"):
        text = (
            f"{place}: all values are off by a common factor of 1 + {finding.units:.2g} or more, "
            f"rounding explains {finding.limit:.2g}"
        )
        return Fault(finding.share, text + _hint(relative))
    if comparison.wrong:
        place, relative = output.place_of(comparison.rows, comparison.columns), comparison.relative
    wrong = f"{comparison.wrong} of {comparison.count} elements are wrong, "
    text = (
        f"{place}: {wrong if comparison.wrong else ''}relative error {relative:.1e}; the error of "
        f"{_named(finding.group)} is {finding.units:.3g} times what rounding explains (allowed: "
        f"{finding.limit:.3g} times)"
    )
    widespread = finding.group == "whole" or 4 * comparison.wrong > comparison.count
    return Fault(
        finding.share, text + (_hint(relative) if widespread or relative >= ORDER_ONE else "")
    )


def _range(low: int, high: int) -> str:
    return str(low) if low == high else f"{low}..{high}"


def _named(group: str) -> str:
    """A group of elements in a sentence."""
    if group == "whole":
        return "the whole"
    return f"{'an' if group == 'element' else 'a'} {'slice' if group.startswith('dim') else group}"


def near_largest(dtype: torch.dtype) -> float:
    """The share of a dtype's largest number within which an overflow is rounding."""
    return min(8 * torch.finfo(dtype).eps, 1 / 8)


def _hint(relative: float) -> str:
    """What an error of this size often is."""
    if relative >= ORDER_ONE:
        return "; that is as large as the values: look for swapped axes, a mask or a scale"
    for bits, dtype in ((8, "bfloat16"), (11, "float16 or tf32")):
        if 2.0 ** -(bits + 2) < relative < 2.0 ** -(bits - 0.5):
            return f"; that is the size of rounding to {dtype}"
    return ""


def as_reals(values: torch.Tensor) -> torch.Tensor:
    """Rows in float64; complex ones with real and imaginary parts in turns."""
    if values.is_complex():
        pairs = torch.view_as_real(values.resolve_conj().to(torch.complex128))
        return pairs.reshape(values.shape[0], 2 * values.shape[1])
    return values.to(torch.float64)


def _blocks(expected: Expected) -> torch.Tensor | None:
    return None if expected.block is None else renumbered(expected.block.to(expected.values.device))


def _root(squares: float, norms: float) -> float:
    """sqrt(squares / norms); 0 over 0 is 0."""
    if squares == 0:
        return 0.0
    return math.sqrt(squares / norms) if norms > 0 else math.inf
