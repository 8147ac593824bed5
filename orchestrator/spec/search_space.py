"""What a search may propose: its axes as dimensions with coordinates that every searcher
understands. Pure.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.spec.axes import Range
from orchestrator.spec.models import SweepSpec
from orchestrator.util.quantities import is_number

Coordinate = int | float
Coordinates = Mapping[str, Coordinate]


@dataclass(frozen=True)
class Dimension:
    """One axis of a search.

    A coordinate is an index where the values can be counted and lie evenly, else a number between
    `low` and `high`, so that no searcher has to know of steps on a logarithmic scale, or of values
    that are lists.

    Attributes:
        name: of the axis.
        axis: its values, as the sweep file states them.
    """

    name: str
    axis: Sequence[Any] | Range

    @property
    def count(self) -> int | None:
        """How many values it has; None: without end."""
        if isinstance(self.axis, Range):
            return self.axis.count
        return len(self.axis)

    @property
    def by_index(self) -> bool:
        """Whether a coordinate is an index."""
        if isinstance(self.axis, Range):
            return self.axis.step is not None and not self.axis.log
        return True

    @property
    def ordered(self) -> bool:
        """Whether neighbouring coordinates have neighbouring values."""
        if isinstance(self.axis, Range):
            return True
        numbers = [value for value in self.axis if is_number(value)]
        return len(numbers) == len(self.axis) and numbers == sorted(numbers)

    def value(self, coordinate: Coordinate) -> Any:
        """The value of the axis there; where a step leaves gaps, the nearest."""
        if not isinstance(self.axis, Range):
            return self.axis[int(coordinate)]
        if self.by_index:
            return self.axis.value(int(coordinate))
        if self.axis.count is None:
            return min(max(float(coordinate), self.axis.low), self.axis.high)
        steps = round((coordinate - self.axis.low) / (self.axis.step or 1))
        return self.axis.value(min(max(steps, 0), self.axis.count - 1))

    def coordinate(self, value: Any) -> Coordinate | None:
        """Where a value lies; None: it is none of this dimension."""
        if not isinstance(self.axis, Range):
            for index, known in enumerate(self.axis):
                if known == value and type(known) is type(value):  # True is no 1
                    return index
            return None
        if not is_number(value) or not self.axis.low <= value <= self.axis.high:
            return None
        if not self.by_index:
            return value
        nearest = round((value - self.axis.low) / (self.axis.step or 1))
        if self.axis.value(nearest) != value:
            return None
        return nearest

    def has(self, coordinate: Coordinate) -> bool:
        """Whether it is a coordinate of this dimension."""
        if self.by_index:
            return isinstance(coordinate, int) and 0 <= coordinate < (self.count or 0)
        return isinstance(self.axis, Range) and self.axis.low <= coordinate <= self.axis.high

    def spread(self, most: int) -> list[Any]:
        """At most `most` values (at least 2), evenly from one end to the other; all if no more."""
        count = min(most, self.count or most)
        values: list[Any] = []
        for number in range(count):
            share = number / max(1, count - 1)
            if not isinstance(self.axis, Range):
                values.append(self.axis[round(share * (len(self.axis) - 1))])
            elif self.axis.count is not None:
                values.append(self.axis.value(round(share * (self.axis.count - 1))))
            else:
                values.append(self.axis.low + share * (self.axis.high - self.axis.low))
        return values

    def draw(self, generator: random.Random) -> Coordinate:
        """A coordinate drawn evenly: by ratio where the range is logarithmic."""
        if self.by_index:
            return generator.randrange(self.count or 1)
        assert isinstance(self.axis, Range)
        low, high = float(self.axis.low), float(self.axis.high)
        if self.axis.log:
            return math.exp(generator.uniform(math.log(low), math.log(high)))
        if self.axis.whole:
            return generator.randint(int(low), int(high))
        return generator.uniform(low, high)

    def __str__(self) -> str:
        if not isinstance(self.axis, Range):
            return f"{self.name} ({len(self.axis)})"
        text = f"{self.axis.low:g} to {self.axis.high:g}"
        if self.axis.step is not None:
            text += f" by {self.axis.step:g}"
        if self.axis.log:
            text += ", log"
        return f"{self.name} ({text})"


@dataclass(frozen=True)
class Space:
    """The dimensions of a search; those of a single value among them are fixed."""

    dimensions: tuple[Dimension, ...]

    @classmethod
    def of(cls, spec: SweepSpec) -> Space:
        """What the sweep file leaves to the search."""
        return cls(tuple(Dimension(name, spec.axes[name]) for name in spec.searched))

    @property
    def free(self) -> tuple[Dimension, ...]:
        """The dimensions that a searcher has to choose along."""
        return tuple(dimension for dimension in self.dimensions if dimension.count != 1)

    @property
    def size(self) -> int | None:
        """How many points it has; None: without end."""
        size = 1
        for dimension in self.dimensions:
            if dimension.count is None:
                return None
            size *= dimension.count
        return size

    def draw(self, generator: random.Random) -> dict[str, Coordinate]:
        """A point drawn evenly, as coordinates of the free dimensions."""
        return {dimension.name: dimension.draw(generator) for dimension in self.free}

    def values(self, coordinates: Coordinates) -> dict[str, Any]:
        """Axis -> value at these coordinates; a fixed dimension needs none."""
        found = {}
        for dimension in self.dimensions:
            found[dimension.name] = dimension.value(coordinates.get(dimension.name, 0))
        return found

    def coordinates(self, values: Mapping[str, Any]) -> dict[str, Coordinate] | None:
        """Where these values lie; None: nowhere in this space."""
        found = {}
        for free in self.free:
            if free.name not in values:
                return None
            coordinate = free.coordinate(values[free.name])
            if coordinate is None:
                return None
            found[free.name] = coordinate
        return found

    def has(self, coordinates: Coordinates) -> bool:
        """Whether these are coordinates of a point of this space, and not of another's."""
        if coordinates.keys() != {free.name for free in self.free}:
            return False
        return all(free.has(coordinates[free.name]) for free in self.free)

    def __str__(self) -> str:
        return ", ".join(map(str, self.dimensions))
