"""The protocol of samplers, and uniform random sampling, which needs no package."""

from __future__ import annotations

import math
import random
from typing import Protocol

from orchestrator.spec.search_space import Coordinate, Coordinates, Space

MOST_SHUFFLED = 100_000  # points shuffled once; of more each is drawn, and may repeat


class Sampler(Protocol):
    """Chooses points of a space and learns from their values.

    Its choices depend on its seed and the calls made to it, and on nothing else.

    Attributes:
        fewest_asks: how often a search asks at least before it gives up on finding valid points.
    """

    fewest_asks: int

    def ask(self, token: str) -> Coordinates | None:
        """A point, named by `token`; None: none now."""
        ...

    def tell(self, token: str, value: float) -> None:
        """Report the value (finite) of the point asked for as `token`."""
        ...

    def learn(self, coordinates: Coordinates, value: float) -> None:
        """Report the value of a point that it did not propose; it may ignore it."""
        ...

    def withdraw(self, token: str) -> None:
        """Give up the point asked for as `token`: no value will be reported."""
        ...


class RandomSampler:
    """Draws points uniformly; never one twice where the points can be counted.

    Args:
        space: to draw from.
        seed: any text.
    """

    fewest_asks = 2000  # asking it costs nothing

    def __init__(self, space: Space, seed: str) -> None:
        self._space = space
        self._random = random.Random(seed)
        self._left: list[int] | None = None
        size = space.size or 0
        if all(dimension.by_index for dimension in space.free) and size <= MOST_SHUFFLED:
            self._left = self._random.sample(range(size), size)

    def ask(self, token: str) -> Coordinates | None:
        """The next point; None: every point has been proposed."""
        if self._left is None:
            return self._space.draw(self._random)
        if not self._left:
            return None
        rank = self._left.pop()
        point: dict[str, Coordinate] = {}
        for dimension in self._space.free:
            rank, point[dimension.name] = divmod(rank, dimension.count or 1)
        return point

    def tell(self, token: str, value: float) -> None:
        """Does nothing: it does not learn."""

    def learn(self, coordinates: Coordinates, value: float) -> None:
        """Does nothing: it does not learn."""

    def withdraw(self, token: str) -> None:
        """Does nothing: it waits for no value."""


def is_finite(value: float | None) -> bool:
    """Whether a metric can be reported to a searcher."""
    return value is not None and math.isfinite(value)
