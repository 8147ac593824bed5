"""The space of a search: every coordinate is a value of its axis, whatever the searcher."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.search.sampler import RandomSampler
from orchestrator.search.tune import _from_share
from orchestrator.spec.axes import Range
from orchestrator.spec.search_space import Dimension, Space


@st.composite
def ranges(draw: st.DrawFn) -> Range:
    log = draw(st.booleans())
    numbers = st.integers(1 if log else -1000, 1000) | st.floats(0.01 if log else -100, 100).map(
        lambda x: round(x, 3)
    )
    low, high = sorted(draw(st.lists(numbers, min_size=2, max_size=2, unique=True)))
    step = draw(st.none() | st.integers(1, 50) | st.just(0.25))
    return Range(
        low=low, high=high, log=log, step=step if step is not None and step <= high - low else None
    )


@given(ranges(), st.integers(0, 10**6))
def test_what_is_drawn_is_a_value_of_the_range(axis: Range, seed: int) -> None:
    """Within its ends, on its steps, and an integer where it is of integers."""
    dimension = Dimension("x", axis)
    value = dimension.value(dimension.draw(random.Random(seed)))
    assert axis.low <= value <= axis.high
    assert isinstance(value, int) == axis.whole
    if axis.step is not None:
        assert value in [axis.value(index) for index in range(axis.count or 0)]


@given(ranges(), st.floats(0, 1))
def test_a_share_of_the_way_is_a_coordinate(axis: Range, share: float) -> None:
    """For searchers that know real numbers only."""
    dimension = Dimension("x", axis)
    assert axis.low <= dimension.value(_from_share(dimension, share)) <= axis.high


@given(ranges(), st.integers(0, 10**6))
def test_a_value_lies_where_it_was_found(axis: Range, seed: int) -> None:
    """From a coordinate to a value and back to it."""
    dimension = Dimension("x", axis)
    value = dimension.value(dimension.draw(random.Random(seed)))
    coordinate = dimension.coordinate(value)
    assert coordinate is not None
    assert dimension.value(coordinate) == value


def test_a_value_of_no_dimension_lies_nowhere() -> None:
    """Beside the steps, beyond the ends, of another type."""
    stepped, listed = Dimension("x", Range(low=0, high=10, step=5)), Dimension("y", [1, "a", True])
    assert [stepped.coordinate(value) for value in (5, 4, 11, True, None)] == [
        1,
        None,
        None,
        None,
        None,
    ]
    assert [listed.coordinate(value) for value in (1, "a", True, 2)] == [0, 1, 2, None]


def test_even_chance_takes_each_point_once() -> None:
    """Where they can be counted."""
    space = Space(
        (
            Dimension("x", [1, 2, 3]),
            Dimension("y", Range(low=0, high=1, step=0.5)),
            Dimension("z", [7]),
        )
    )
    chance = RandomSampler(space, "seed")
    found = [space.values(point) for _ in range(9) if (point := chance.ask("")) is not None]
    assert len({tuple(point.items()) for point in found}) == 9 == space.size
    assert all(point["z"] == 7 for point in found)
    assert chance.ask("") is None


def test_a_logarithmic_range_is_drawn_by_ratio() -> None:
    """As much below ten as above, from one to a hundred; by steps of one, too."""
    for step in (None, 1):
        dimension = Dimension("x", Range(low=1, high=100, log=True, step=step))
        chance = random.Random(0)
        below = sum(dimension.value(dimension.draw(chance)) < 10 for _ in range(2000))
        assert below == pytest.approx(1000, abs=150)


def test_a_space_says_what_it_is() -> None:
    """For `plan`."""
    space = Space(
        (Dimension("x", Range(low=16, high=256, log=True, step=16)), Dimension("y", ["a", "b"]))
    )
    assert (str(space), space.size) == ("x (16 to 256 by 16, log), y (2)", 32)
    assert Space((Dimension("x", Range(low=0.0, high=1.0)),)).size is None
