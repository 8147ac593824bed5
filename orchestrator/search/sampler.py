"""The protocol between a search and what chooses its points, and the sampler that needs nothing: even chance."""

from __future__ import annotations

import math
import random
from typing import Protocol

from orchestrator.spec.search_space import Coordinate, Coordinates, Space

MOST_SHUFFLED = 100_000  # points that are put into an order once; more are drawn, and may come twice


class Sampler(Protocol):
    """Chooses points of a space and learns from what they gave; a function of the calls made to it and its seed.

    Attributes:
        fewest_asks: how often at least it may be asked before a search gives up on finding points that can be run.
    """

    fewest_asks: int

    def ask(self, token: str) -> Coordinates | None:
        """A point; None: not now."""
        ...

    def tell(self, token: str, value: float) -> None:
        """The point asked for as `token` gave this, which is finite."""
        ...

    def learn(self, coordinates: Coordinates, value: float) -> None:
        """A point that was not asked for gave this; may be left unlearnt."""
        ...

    def withdraw(self, token: str) -> None:
        """Nothing will be told of the point asked for as `token`."""
        ...


class RandomSampler:
    """Draws points evenly; none twice where they can be counted.

    Args:
        space: to draw from.
        seed: any text.
    """

    fewest_asks = 2000  # it answers at once

    def __init__(self, space: Space, seed: str) -> None:
        self._space = space
        self._chance = random.Random(seed)
        self._left: list[int] | None = None
        if all(dimension.by_index for dimension in space.free) and (space.size or 0) <= MOST_SHUFFLED:
            self._left = self._chance.sample(range(space.size or 0), space.size or 0)

    def ask(self, token: str) -> Coordinates | None:
        """The next point; None: all have been."""
        if self._left is None:
            return self._space.draw(self._chance)
        return self._unranked(self._left.pop()) if self._left else None

    def tell(self, token: str, value: float) -> None:
        """RandomSampler learns nothing."""

    def learn(self, coordinates: Coordinates, value: float) -> None:
        """RandomSampler learns nothing."""

    def withdraw(self, token: str) -> None:
        """RandomSampler expects nothing."""

    def _unranked(self, rank: int) -> dict[str, Coordinate]:
        point: dict[str, Coordinate] = {}
        for dimension in self._space.free:
            rank, point[dimension.name] = divmod(rank, dimension.count or 1)
        return point


def is_number(value: float | None) -> bool:
    """Whether a metric can be told to a searcher."""
    return value is not None and math.isfinite(value)
