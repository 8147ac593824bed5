"""Inputs with structure: exact, of the same kind as the workload's own, and asked for where a
reference allows them.
"""

from __future__ import annotations

import math

import pytest
import torch

from orchestrator.verify.rule.structured import (
    EDGES,
    EQUAL,
    LARGE,
    STRUCTURES,
    ZEROS,
    is_comparable,
    larger,
    structured,
)


def random(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(
        dtype
    )


@pytest.mark.parametrize("kind", STRUCTURES)
@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64]
)
def test_values_stay_on_their_grid_and_the_own_inputs_as_they_were(
    kind: str, dtype: torch.dtype
) -> None:
    """They are the workload's own times exact powers of two, in copies."""
    own = random(16, 64, dtype=dtype)
    before = own.clone()
    (found,) = structured(kind, (own,))
    assert torch.equal(own, before)
    assert found.dtype is dtype
    if kind in (EDGES, LARGE) and not own.is_complex():  # small ones are subnormal in float16
        ratio = found.double() / own.double()
        assert torch.equal(ratio, torch.exp2(ratio.log2().round()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_probabilities_and_masks_of_numbers_stay_what_they_are(dtype: torch.dtype) -> None:
    """Values between 0 and 1 are made larger at no edge; all else is made smaller."""
    drawn = torch.rand(16, 64, generator=torch.Generator().manual_seed(0)).to(dtype).clamp(max=0.99)
    mask = (drawn > 0.5).to(dtype)
    for kind in STRUCTURES:
        found = structured(kind, (random(5, dtype=dtype), drawn, mask))
        assert found is not None
        assert found[2] is mask
        assert ((found[1] >= 0) & (found[1] < 1)).all()
    assert structured(LARGE, (drawn, mask)) is None
    found = structured(EDGES, (drawn,))
    assert found is not None
    assert found[0][0, 0] == drawn[0, 0]
    assert found[0][1, 1] <= drawn[1, 1] / 4


def test_integers_and_masks_are_left_alone() -> None:
    """And where there is nothing else, there is no structure to be had."""
    ids, mask, fp8 = (
        torch.arange(5),
        torch.ones(5, dtype=torch.bool),
        random(5).to(torch.float8_e4m3fn),
    )
    assert structured(LARGE, (ids, mask, fp8)) is None
    found = structured(LARGE, (ids, random(5)))
    assert found is not None
    assert found[0] is ids


def test_edges_make_a_tail_of_order_one() -> None:
    """The corners of 256 x 1024 are larger by 2^4 times 2^5 = 16 * 32."""
    own = torch.ones(256, 1024)
    (found,) = structured(EDGES, (own,))
    assert found[5, 5] == 1
    assert found[0, 5] == found[255, 5] == 16
    assert found[5, 0] == 32
    assert found[255, 1023] == 512


def test_float16_grows_by_four_at_most() -> None:
    """Unfused float16 code overflows at sixteen times its inputs."""
    own = torch.ones(256, 256, dtype=torch.float16)
    (edges,), (large,) = structured(EDGES, (own,)), structured(LARGE, (own,))
    assert edges.max() == 16
    assert edges[5, 0] == large[5, 5] == 4


def test_float16_inputs_grow_further_where_nothing_on_the_way_is_large() -> None:
    """Scores of attention may be 16 times 16 larger; the squares of a norm's inputs may not be."""
    own = (random(64, 64, dtype=torch.float16),)
    found = larger(own, lambda inputs: torch.softmax(inputs[0].double(), -1))
    assert found is not None
    assert torch.equal(found[0], own[0] * 16)
    assert larger(own, lambda inputs: (inputs[0].double() * 100).square()) is None
    assert larger((random(4),), lambda inputs: inputs[0]) is None


def test_a_reference_that_is_not_finite_leaves_a_structure_out() -> None:
    """Unless it was so on the workload's own inputs; or passes a quarter of float16's largest
    number.
    """
    ordinary = torch.tensor([1.0, -math.inf])
    assert is_comparable(LARGE, torch.tensor([2.0, -math.inf]), ordinary, torch.float32)
    assert not is_comparable(LARGE, torch.tensor([math.inf, -math.inf]), ordinary, torch.float32)
    assert is_comparable(LARGE, torch.tensor([20000.0, -math.inf]), ordinary, torch.float32)
    assert not is_comparable(LARGE, torch.tensor([20000.0, -math.inf]), ordinary, torch.float16)


def test_ties_are_not_asked_of_indices() -> None:
    """Of equal values, more than one index may be right."""
    indices = torch.tensor([1, 2])
    assert not is_comparable(ZEROS, indices, indices, torch.int64)
    assert not is_comparable(EQUAL, indices, indices, torch.int64)
    assert is_comparable(LARGE, indices, indices, torch.int64)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_what_is_near_overflow_is_outside_of_the_domain(dtype: torch.dtype) -> None:
    """Another way to the same value may overflow where the reference's does not."""
    ordinary = torch.ones(4, dtype=torch.float64)
    largest = torch.finfo(dtype).max
    assert is_comparable(LARGE, ordinary * (largest / 8), ordinary, dtype)
    assert not is_comparable(LARGE, ordinary * (largest / 2), ordinary, dtype)
