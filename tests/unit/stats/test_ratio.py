"""Ratios of rows and Holm's correction."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.stats.ratio import geometric_mean, holm, paired_ratio, ratio
from orchestrator.stats.summary import Array

probabilities = st.lists(st.floats(min_value=0, max_value=1), min_size=1, max_size=30)


def row(
    rng: np.random.Generator, level: float, rounds: int = 5, between: float = 0.005
) -> list[list[float]]:
    """Rounds of one row: 40 repetitions at 0.5 % around a process level."""
    levels = level * (1 + between * rng.standard_normal(rounds))
    return [list(here * (1 + 0.005 * rng.standard_normal(40))) for here in levels]


def test_equal_rows_seldom_differ() -> None:
    """Of 400 pairs of one and the same row, about 5 in 100 have a p-value under 0.05, and not far
    fewer.
    """
    rng = np.random.default_rng(0)
    share = sum(ratio(row(rng, 1.0), row(rng, 1.0)).p_value < 0.05 for _ in range(400)) / 400
    assert 0.02 <= share <= 0.08


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 3, 5, 8, 12, 40])
def test_few_repetitions_of_one_process_cry_wolf_no_more_often(count: int) -> None:
    """Slow calls have three or four within max_time_s; equal ones differ 5 times in 100, alone and
    in turns.
    """
    rng = np.random.default_rng(3)

    def series(length: int) -> list[float]:
        return list(np.exp(0.02 * rng.standard_normal(length)))

    alone = sum(ratio([series(count)], [series(count)]).p_value < 0.05 for _ in range(400)) / 400
    turns = (
        sum(
            paired_ratio([(series(2 * count), series(2 * count))])[0].p_value < 0.05
            for _ in range(400)
        )
        / 400
    )
    assert alone <= 0.08
    assert turns <= 0.08


def test_one_repetition_has_no_error_to_go_by() -> None:
    """Of one process; one of each of several processes is well."""
    with pytest.raises(ValueError, match="one repetition"):
        ratio([[1.0]], [[1.3]])
    assert ratio([[1.0], [1.01]], [[1.3], [1.31]]).p_value < 0.05


def in_turns(rng: np.random.Generator, between: float, within: float) -> tuple[Array, Array]:
    """One process of 30 blocks, the second side 2 % slower; processes differ in their ratio."""
    level = 1.02 * np.exp(between * rng.standard_normal())
    noise = np.exp(within * rng.standard_normal((2, 60)))
    return noise[0], level * noise[1]


@pytest.mark.parametrize(("between", "within"), [(0.0, 0.002), (0.002, 0.01), (0.01, 0.05)])
@pytest.mark.parametrize("rounds", [3, 5, 10])
def test_the_paired_interval_covers_as_often_as_it_says(
    rounds: int, between: float, within: float
) -> None:
    """It holds the true ratio 93 to 97 times in 100, of 1,200 paired comparisons."""
    rng = np.random.default_rng(13)
    hits = 0
    for _ in range(1200):
        found, _ = paired_ratio([in_turns(rng, between, within) for _ in range(rounds)])
        hits += found.ci_low <= 1.02 <= found.ci_high
    assert 0.93 <= hits / 1200 <= 0.97


def test_a_true_difference_is_found_with_its_size() -> None:
    """A row 5 % slower is found in at least 9 of 10 pairs, and the interval holds 1.05."""
    rng = np.random.default_rng(1)
    found = [ratio(row(rng, 1.0), row(rng, 1.05)) for _ in range(50)]
    assert sum(pair.p_value < 0.05 for pair in found) >= 45
    assert sum(pair.ci_low <= 1.05 <= pair.ci_high for pair in found) >= 46


def test_the_ratio_turns_over_with_its_rows() -> None:
    """Candidate over base is the inverse of base over candidate."""
    rng = np.random.default_rng(2)
    base, candidate = row(rng, 1.0), row(rng, 1.3)
    there, back = ratio(base, candidate), ratio(candidate, base)
    assert there.value * back.value == pytest.approx(1)
    assert there.ci_low == pytest.approx(1 / back.ci_high, rel=0.01)


def test_rows_without_any_spread_are_equal_or_not() -> None:
    """Where nothing varies, equal is certain and so is different."""
    assert ratio([[2.0] * 9], [[2.0] * 9]).p_value == 1
    assert ratio([[2.0] * 9], [[3.0] * 9]).p_value == 0


def test_holm_on_a_known_example() -> None:
    """The textbook's four p-values, in any order."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))


@given(probabilities)
def test_holm_lies_between_no_correction_and_bonferroni(p_values: list[float]) -> None:
    """No adjusted p-value is below its own, above Bonferroni's, or out of order."""
    adjusted = holm(p_values)
    for before, after in zip(p_values, adjusted, strict=True):
        assert before <= after <= max(min(before * len(p_values), 1), max(adjusted))
    ordered = [adjusted[i] for i in sorted(range(len(p_values)), key=lambda i: p_values[i])]
    assert ordered == sorted(ordered)


def test_the_geometric_mean_of_a_halving_and_a_doubling_is_1() -> None:
    """Ratios average by their product."""
    assert geometric_mean([0.5, 2.0]) == pytest.approx(1)
    assert geometric_mean([]) == 1
