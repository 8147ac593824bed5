"""The rows of an output that are compared, and how far draws of the reference lie from them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch

from orchestrator.verify.rule.noise import ulp
from orchestrator.verify.rule.sums import Sums, by_group, ratio, tile_means

CHUNK = 2**22  # elements looked at at a time: bounds the memory of a comparison
# dtypes whose subnormals may be flushed to 0
FLUSHED = {torch.float32, torch.bfloat16, torch.float64}
ENOUGH_FOR_LARGEST = 4  # draws


@dataclass(frozen=True)
class Rows:
    """The reference's values for some rows of one output.

    Attributes:
        values: (R, W) float64, finite; a complex output's real and imaginary parts alternate along
            W.
        dtype: of the output (of its real part).
        index: one (R,) int64 tensor per leading dimension.
        sizes: of the leading dimensions.
        block: (R,) int64, further groups that the reference names; None: none.
        parts: 2 for a complex output.
    """

    values: torch.Tensor
    dtype: torch.dtype
    index: tuple[torch.Tensor, ...]
    sizes: tuple[int, ...]
    block: torch.Tensor | None = None
    parts: int = 1

    @property
    def count(self) -> int:
        """How many elements are compared."""
        return self.values.numel()

    def chunks(self) -> Iterator[slice]:
        """Runs of rows of about CHUNK elements."""
        rows, width = self.values.shape
        step = max(1, CHUNK // max(1, width))
        return (slice(start, min(rows, start + step)) for start in range(0, rows, step))

    def groups(self) -> Iterator[tuple[str, torch.Tensor, int, bool]]:
        """(kind, (R,) group of each row, number of groups, whether a gain is asked of it), rows by
        themselves apart.
        """
        several = len([size for size in self.sizes if size > 1]) > 1
        for dim, (index, size) in enumerate(zip(self.index, self.sizes, strict=True)):
            if several and size > 1:
                yield f"dim {dim}", index, size, True
        if self.block is not None and len(self.block):
            yield "block", self.block, int(self.block.max()) + 1, False


@dataclass
class Spread:
    """How far draws of the reference lie from it: the noise of each element, and of each group's
    gain.

    Attributes:
        draws: how many were added.
        squares: (R, W) sum of their squared distances.
        gains: sums over the draws of squared gains, by kind of group ("whole", "column", "dim 0").
    """

    rows: Rows
    draws: int = 0
    squares: torch.Tensor = field(init=False)
    gains: dict[str, torch.Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.squares = torch.zeros_like(self.rows.values)

    def add(self, drawn: torch.Tensor) -> None:
        """One more draw: (R, W) float64, overwritten."""
        rows = self.rows
        away = drawn.sub_(rows.values).nan_to_num_(0.0, 0.0, 0.0)
        self.squares.addcmul_(away, away)
        along = away.mul_(rows.values)
        self._gained(Sums.of_rows(along), along.sum(0))
        self.draws += 1

    def _gained(self, by_row: torch.Tensor, by_column: torch.Tensor) -> None:
        """Add the squared sums of this draw; those of the norms divide them when asked for."""
        found = {"whole": by_row.sum().reshape(1), "column": by_column}
        for kind, group, count, asked in self.rows.groups():
            if asked:
                found[kind] = by_group(by_row, group, count)
        for kind, sums in found.items():
            self.gains[kind] = self.gains.get(kind, 0) + sums.square()

    def like_the_noisiest(self, rows: Rows) -> Spread:
        """For other rows of the same problem: each as noisy, beside its own size, as the noisiest
        row here.

        Of few draws the largest is chance: as noisy as the mean, and whoever refuses by that draws
        more.
        """
        found = Spread.__new__(Spread)
        found.rows, found.draws, found.gains = rows, 1, {}
        noise = self.squares.mean(1) / max(1, self.draws)
        shares = ratio(noise, self.rows.values.square().mean(1))
        shares = shares[shares.isfinite()]
        share = 0.0
        if shares.numel():
            share = float(shares.max() if self.draws >= ENOUGH_FOR_LARGEST else shares.mean())
        sizes = rows.values.square().mean(1, keepdim=True)
        found.squares = (share * sizes).expand_as(rows.values)
        return found

    def by_row(self, scale: float) -> torch.Tensor:
        """(R,): a lower bound of n^2 in each row, where all of a row's elements are as noisy."""
        spread = self.squares[:, 0] / max(1, self.draws)
        return spread.clamp(min=self.typical() / 4) * scale * scale

    def noise(self, part: slice, whole: float, scale: float) -> torch.Tensor:
        """(r, W): n^2 of some rows; `whole` is S^2, the mean of s^2 over all; `scale` multiplies
        the noise.
        """
        spread = self.squares[part] / max(1, self.draws)
        spread = (spread + tile_means(spread)).mul_(0.5).clamp_(min=whole / 4)
        spread.mul_(scale * scale)
        return torch.maximum(spread, grid_noise(self.rows.values[part], self.rows.dtype))

    def typical(self) -> float:
        """S^2: the mean squared distance over the whole output."""
        return float(self.squares.mean()) / max(1, self.draws) if self.squares.numel() else 0.0


def grid_noise(values: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The mean square of rounding to the output's own grid, and of flushing its subnormals."""
    step = ulp(values, dtype)
    noise = step.mul_(step).div_(12)
    if dtype in FLUSHED:
        noise.add_(torch.finfo(dtype).tiny ** 2)
    return noise.clamp_(min=torch.finfo(torch.float64).tiny)
