"""A change of level is found where it is, and seldom where there is none."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.stats.changes import FEWEST, changes, significance, threshold


def series(*levels: tuple[int, float], noise: float = 0.01, seed: int = 0) -> list[float]:
    """So many points around each level, log-normal."""
    draw = np.random.default_rng(seed)
    parts = [level * np.exp(draw.normal(0, noise, count)) for count, level in levels]
    return [float(value) for value in np.concatenate(parts)]


@pytest.mark.parametrize(
    "levels", [((20, 1.0), (10, 1.1)), ((10, 2.0), (30, 1.5)), ((18, 1.0), (5, 1.2))]
)
def test_one_change_is_found_where_it_is(levels: tuple[tuple[int, float], ...]) -> None:
    """Its place to the point, its levels to half a per cent."""
    (found,) = changes(series(*levels, seed=2), 0.01)
    assert found.at == levels[0][0]
    assert found.before == pytest.approx(levels[0][1], rel=0.005)
    assert found.after == pytest.approx(levels[1][1], rel=0.005)
    assert found.p_value <= 0.01


def test_several_changes_are_found_each() -> None:
    """A step up, a step down, and a step up again."""
    found = changes(series((30, 1.0), (20, 1.2), (25, 1.0), (30, 1.1)), 0.01)
    assert [change.at for change in found] == [30, 50, 75]


def test_a_long_series_is_cut_at_the_point() -> None:
    """Beyond 200 points, means of neighbours are permuted; the place is not blurred by it."""
    (found,) = changes(series((700, 1.0), (300, 1.02)), 0.01)
    assert abs(found.at - 700) <= 3


def test_outliers_are_no_levels() -> None:
    """One point, or two, however far off."""
    values = series((40, 1.0))
    values[20], values[31] = 7.0, 0.2
    assert changes(values, 0.01) == []


def test_without_a_change_there_is_seldom_one() -> None:
    """Of 400 series without any, about as many as asked for; seeds are fixed."""
    wrong = sum(bool(changes(series((25, 1.0), seed=seed), 0.05)) for seed in range(400))
    assert wrong <= 0.05 * 400 + 3 * (400 * 0.05 * 0.95) ** 0.5


@pytest.mark.parametrize("values", [[], [1.0], [1.0] * 5, [1.0] * 50, [1.0, 2.0] * 2])
def test_a_short_or_constant_series_has_none(values: list[float]) -> None:
    """Five points have no two levels of three."""
    assert changes(values, 0.05) == []
    assert significance(values) == 1.0


@given(st.lists(st.floats(min_value=1e-3, max_value=1e3), max_size=30))
def test_levels_follow_from_the_places(values: list[float]) -> None:
    """Places ascend, each side has enough points, and neighbours share a level."""
    found = changes(values, 0.2)
    places = [0, *(change.at for change in found), len(values)]
    if found:
        assert min(np.diff(places)) >= FEWEST
    for one, two in itertools.pairwise(found):
        assert one.after == two.before


def test_what_is_not_positive_is_refused() -> None:
    """A time of nothing has no logarithm."""
    with pytest.raises(ValueError, match="positive"):
        changes([1.0, 0.0, 1.0], 0.05)


def test_the_same_series_has_the_same_changes() -> None:
    """Permutations are drawn from a fixed seed."""
    values = series((15, 1.0), (15, 1.01))
    assert changes(values, 0.05) == changes(values, 0.05)


@pytest.mark.parametrize(
    ("p_values", "believed"),
    [([], 0), ([0.5, 0.9], 0), ([0.004], 1), ([0.0001, 0.5, 0.5, 0.5], 1), ([0.004, 0.009], 2)],
)
def test_false_discoveries_are_bounded(p_values: list[float], believed: int) -> None:
    """Benjamini and Hochberg's rule, at 1 %."""
    limit = threshold(p_values)
    assert sum(p_value <= limit for p_value in p_values) == believed
