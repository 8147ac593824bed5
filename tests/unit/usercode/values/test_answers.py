"""Whether two calls gave the same."""

from __future__ import annotations

import math

import pytest
import torch

from orchestrator.usercode.values.answers import alike, same_bytes, snapshot

ONE = torch.arange(1.0, 1001.0)


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (ONE.clone(), True),
        (ONE * (1 + 2.0**-8), True),
        (ONE * (1 + 2.0**-4), False),
        (ONE[:-1], False),
        (torch.where(ONE == 7, math.nan, ONE), False),
        (torch.where(ONE == 7, -math.inf, ONE), False),
    ],
)
def test_sums_in_another_order_are_alike(other: torch.Tensor, expected: bool) -> None:
    """Nothing else is."""
    assert alike((ONE, {"a": 3}), (other, {"a": 3}), 2.0**-6) is expected


@pytest.mark.parametrize("other", [(ONE,), (ONE, ONE, ONE), {"a": ONE, "b": ONE}, ONE])
def test_answers_of_other_parts_are_not_alike(other: object) -> None:
    """Fewer, more, or under other names."""
    assert alike((ONE, ONE), (ONE, ONE), 1.0)
    assert not alike((ONE, ONE), other, 1.0)


def test_a_snapshot_stays_what_it_was() -> None:
    """Whatever is written into the tensors afterwards; other leaves are passed on."""
    tensor = ONE.clone()
    kept = snapshot({"a": tensor, "b": 3})
    tensor.zero_()
    assert alike(kept, {"a": ONE, "b": 3}, 0.0)


def test_an_infinity_hides_no_difference_of_the_others() -> None:
    """It is no part of what a difference is held against."""
    masked = torch.where(ONE > 500, -math.inf, ONE)
    assert alike(masked, masked.clone(), 2.0**-6)
    assert not alike(masked, masked * 2, 2.0**-6)


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.float8_e4m3fn])
def test_what_has_no_rounding_is_compared_by_its_bytes(dtype: torch.dtype) -> None:
    """Integers, bools, and floats of eight bits."""
    one = (ONE % 2).to(dtype)
    other = one.clone()
    other[3] = 0 if bool(one[3].float()) else 1
    assert alike(one, one.clone(), 1.0)
    assert not alike(one, other, 1.0)


def test_bytes_tell_zeros_apart_and_take_nan_for_itself() -> None:
    """As `==` does not; other dtypes and shapes are others."""
    nan = torch.tensor([math.nan, 1.0])
    assert same_bytes(nan, nan.clone())
    assert not same_bytes(nan, nan.double())
    assert not same_bytes(nan, nan[:1])
    assert not same_bytes(nan, torch.tensor([math.nan, 2.0]))
