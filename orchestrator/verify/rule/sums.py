"""Sums over the elements of groups: rows, columns, tiles, indices of a dimension."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

TILE = 64  # neighbours along the last dimension


@dataclass(frozen=True)
class Sums:
    """What is added up over the elements of each group: e^2, n^2, (e/n)^2, e y, y^2; (5, groups)
    float64.
    """

    values: torch.Tensor
    counts: torch.Tensor

    @staticmethod
    def of_rows(values: torch.Tensor) -> torch.Tensor:
        """(r,) sums along the width."""
        return values.sum(1)

    def grouped(self, group: torch.Tensor, count: int) -> Sums:
        """Added up by group."""
        summed = self.values.new_zeros(len(self.values), count).index_add_(1, group, self.values)
        return Sums(summed, self.counts.new_zeros(count).index_add_(0, group, self.counts))

    def quantities(self) -> torch.Tensor:
        """(groups,): the larger of sqrt(sum e^2 / sum n^2) and sqrt(mean (e/n)^2)."""
        errors, noise, units = self.values[:3]
        return torch.maximum(ratio(errors, noise), units / self.counts.clamp(min=1)).sqrt()

    def gains(self) -> torch.Tensor:
        """(groups,): |sum e y| / sum y^2."""
        return ratio(self.values[3].abs(), self.values[4])


def relative_of(sums: Sums) -> torch.Tensor:
    """(groups,): sqrt(sum e^2 / sum y^2)."""
    return ratio(sums.values[0], sums.values[4]).sqrt()


def relative(squares: float, norms: float) -> float:
    """The relative error of sums of squares; 0 over 0 is 0."""
    if squares == 0:
        return 0.0
    return math.sqrt(squares / norms) if norms > 0 else math.inf


def ratio(top: torch.Tensor, bottom: torch.Tensor) -> torch.Tensor:
    """Top / bottom; 0 over 0 is 0."""
    return torch.where(top == 0, 0.0, top / bottom)


def by_group(by_row: torch.Tensor, group: torch.Tensor, count: int) -> torch.Tensor:
    """Sums of rows by group."""
    return by_row.new_zeros(count).index_add_(0, group, by_row)


def tile_sums(values: torch.Tensor) -> torch.Tensor:
    """(r, T): sums over tiles of 64 neighbours, the last one shorter."""
    rows, width = values.shape
    full = width // TILE * TILE
    parts = []
    if full:
        parts.append(values[:, :full].reshape(rows, -1, TILE).sum(-1))
    if full < width:
        parts.append(values[:, full:].sum(-1, keepdim=True))
    return torch.cat(parts, 1) if parts else values.new_zeros(rows, 0)


def tile_means(values: torch.Tensor) -> torch.Tensor:
    """(r, W): each element's tile's mean."""
    width = values.shape[1]
    counts = values.new_full((1, -(-width // TILE)), TILE)
    if width % TILE:
        counts[0, -1] = width % TILE
    return (tile_sums(values) / counts).repeat_interleave(TILE, 1)[:, :width]
