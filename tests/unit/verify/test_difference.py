"""Comparing outputs with their reference: what passes, what cannot hide, and where the message points."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.verify import output_rows
from orchestrator.verify.difference import (
    FLOORS,
    Budget,
    compare,
    difference,
    judge,
    yardstick_difference,
)
from orchestrator.verify.output_rows import ShapeError, WholeAnswer
from orchestrator.workload import Expected

FLOAT32 = Budget.of(FLOORS["float32"])
FLOAT16 = Budget.of(FLOORS["float16"])


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def whole(answer: torch.Tensor, *, block_dims: tuple[int, ...] = (), zeros: torch.Tensor | None = None) -> WholeAnswer:
    """All rows of an answer, one block per index of the dimensions named."""
    leading = answer.shape[:-1]
    block = torch.zeros(leading, dtype=torch.int64)
    for dim in block_dims:
        shape = [1] * len(leading)
        shape[dim] = leading[dim]
        block = block * leading[dim] + torch.arange(leading[dim]).view(shape)
    rows = answer.reshape(-1, answer.shape[-1])
    return WholeAnswer(rows, block=block.reshape(-1) if block_dims else None, zeros=zeros, shape=tuple(answer.shape))


def complaint(actual: torch.Tensor, expected: Expected, budget: Budget = FLOAT32) -> str:
    verdict, _ = compare({"output": actual}, {"output": expected}, budget)
    assert verdict.ok == (not verdict.complaints)
    return "; ".join(verdict.complaints)


@pytest.mark.parametrize(("precision", "dtype"), [("float32", torch.float32), ("float16", torch.float16)])
def test_rounding_to_its_own_dtype_passes(precision: str, dtype: torch.dtype) -> None:
    """An answer that is right but for its dtype's rounding is inside the floor of its precision."""
    right = random(2, 50, 4, 8)
    assert complaint(right.to(dtype), whole(right, block_dims=(0, 2)), Budget.of(FLOORS[precision])) == ""


def test_a_wrong_head_is_named_by_its_place() -> None:
    """The message gives the block's place in the output, its error and what is allowed."""
    right = random(2, 50, 4, 8)
    wrong = right.float()
    wrong[1, :, 3] = random(50, 8, seed=1).float()
    text = complaint(wrong, whole(right, block_dims=(0, 2)))
    assert text.startswith("output[1, 0..49, 3]: relative error 1.")
    assert text.endswith("allowed 1e-05")


def test_a_scale_off_by_two_thousandths_fails_in_float32() -> None:
    """A factor of 1.002 is 200 times the floor."""
    right = random(2, 50, 4, 8)
    assert "2.0e-03" in complaint(1.002 * right.float(), whole(right))


def test_one_wrong_row_of_a_hundred_thousand_cannot_hide_in_float16() -> None:
    """In one block the row drowns (3e-3 and less), so it is its own error that gives it away."""
    right = random(200_000, 8)
    wrong = right.half()
    wrong[123_456] = wrong[7]
    verdict, differences = compare({"output": wrong}, {"output": whole(right)}, FLOAT16)
    assert differences["output"].block_error < FLOAT16.block
    assert not verdict.ok
    assert "output[123456]" in str(verdict)
    assert "of this row" in str(verdict)


@given(row=st.integers(0, 99), column=st.integers(0, 7), value=st.sampled_from([math.nan, math.inf, -math.inf]))
@settings(max_examples=20, deadline=None)
def test_a_value_that_is_not_finite_fails_wherever_it_is(row: int, column: int, value: float) -> None:
    """Also in a row that the reference does not answer for."""
    right = random(100, 8)
    wrong = right.float()
    wrong[row, column] = value
    first = torch.tensor([0])
    sampled = Expected(right[:1], (first,), block=first)
    assert f"output[{row}]: not finite" in complaint(wrong, whole(right))
    assert f"output[{row}]: not finite" in complaint(wrong, sampled)


def test_zeros_are_exact_everywhere() -> None:
    """A row that must be 0 and is 1e-30 fails, though no norm would show it and no sample holds it."""
    right = random(4, 6, 8)
    zeros = torch.zeros(1, 6, dtype=torch.bool)
    zeros[0, 5] = True
    right[:, 5] = 0
    first = torch.tensor([0])
    sampled = Expected(right[:1, 0], (first, first), block=first, zeros=zeros)
    actual = right.float()
    assert complaint(actual, sampled) == ""
    actual[3, 5, 7] = 1e-30
    assert complaint(actual, sampled) == "output[3, 5]: must be exactly 0"


def test_a_block_of_cancelled_rows_does_not_explode() -> None:
    """A gradient that is 0 in theory is rounding error in both; it is measured against what is typical."""
    right = random(3, 40, 8)
    right[1] *= 1e-17
    actual = right.float()
    actual[1] = 1e-8 * random(40, 8, seed=1).float()
    assert complaint(actual, whole(right, block_dims=(0,))) == ""
    actual[1] = 1e-2
    assert complaint(actual, whole(right, block_dims=(0,))).startswith("output[1, 0..39]")


def test_an_answer_that_is_zero_throughout_is_measured_absolutely() -> None:
    """With nothing typical to compare with, 1 is the unit: inputs have unit variance."""
    right = torch.zeros(5, 8, dtype=torch.float64)
    assert complaint(torch.full((5, 8), 1e-9), whole(right)) == ""
    assert complaint(torch.full((5, 8), 1e-3), whole(right)) != ""


def test_small_blocks_must_still_be_there() -> None:
    """A block a hundred times smaller than the rest, left at 0, fails even in bfloat16."""
    right = random(3, 40, 8)
    right[2] *= 0.01
    actual = right.bfloat16()
    actual[2] = 0
    assert complaint(actual, whole(right, block_dims=(0,)), Budget.of(FLOORS["bfloat16"])) != ""


@given(
    st.integers(1, 4), st.integers(1, 6), st.integers(1, 4), st.integers(1, 5), st.permutations([0, 1, 2]), st.data()
)
@settings(max_examples=60, deadline=None)
def test_errors_do_not_depend_on_strides_or_chunks(
    batch: int, rows: int, heads: int, width: int, order: list[int], data: st.DataObject
) -> None:
    """The error of a block is its relative Frobenius norm, however the output lies in memory and is walked through."""
    right = random(batch, rows, heads, width, seed=1)
    actual = right + 0.01 * random(batch, rows, heads, width, seed=2)
    inverse = [order.index(dim) for dim in range(3)]
    strided = actual.permute(*order, 3).contiguous().permute(*inverse, 3)
    chunk = data.draw(st.integers(1, 64))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(output_rows, "CHUNK", chunk)
        found = difference("output", strided, whole(right, block_dims=(0, 2)))
    norms = (actual - right).norm(dim=(1, 3)) / right.norm(dim=(1, 3)).clamp(min=1e-1)
    if right.norm(dim=(1, 3)).min() > 0.1:
        assert found.block_error == pytest.approx(float(norms.max()), rel=1e-9)


@given(st.integers(0, 2**31), st.integers(1, 30))
@settings(max_examples=30, deadline=None)
def test_sampled_rows_are_compared_with_their_own(seed: int, count: int) -> None:
    """Rows named by index are found in the output; the same rows in another order are not the same."""
    right = random(3, 7, 5, seed=3)
    generator = torch.Generator().manual_seed(seed)
    index = tuple(torch.randint(0, size, (count,), generator=generator) for size in right.shape[:-1])
    block = torch.arange(count) * 1_000_000_007
    assert complaint(right.float(), Expected(right[index], index, block)) == ""
    assert complaint(right.float().flip(0, 1), Expected(right[index], index, block)) != "" or all(
        int(a) == 1 and int(b) == 3 for a, b in zip(*index, strict=True)
    )


@pytest.mark.parametrize("shape", [(2, 6, 3), (2, 3), (3, 2, 6, 1), (6, 2, 6), ()])
def test_an_output_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    """The message gives the shape found and the shape expected."""
    with pytest.raises(ShapeError, match=r"expected \(2, 3, 6\)"):
        difference("output", torch.zeros(shape), whole(random(2, 3, 6)))


def test_sampled_rows_that_are_not_there_are_refused() -> None:
    """Without the whole shape, the rows asked for must exist and have the right width."""
    index = (torch.tensor([0, 4]),)
    expected = Expected(random(2, 8), index, torch.zeros(2, dtype=torch.int64))
    with pytest.raises(ShapeError, match="does not hold the 2 rows"):
        difference("output", torch.zeros(4, 8), expected)
    with pytest.raises(ShapeError, match="rows of width 8"):
        difference("output", torch.zeros(5, 7), expected)


def test_scalars_and_vectors_are_rows_too() -> None:
    """The gradient of a bias has no leading dimension."""
    bias, scalar = random(8), random(1)[0]
    assert complaint(bias.float(), WholeAnswer(bias[None], shape=(8,))) == ""
    assert complaint(2 * bias.float(), WholeAnswer(bias[None], shape=(8,))).startswith("output: relative error 1.0e+00")
    assert complaint(scalar.float(), WholeAnswer(scalar.reshape(1, 1), shape=())) == ""


def test_every_output_is_judged() -> None:
    """The right output with a wrong gradient fails by the gradient's name, and the worst error is reported."""
    right = {"output": random(4, 8), "grad_q": random(4, 8, seed=1)}
    actual = {"output": right["output"].float(), "grad_q": -right["grad_q"].float()}
    verdict, _ = compare(actual, {name: whole(value) for name, value in right.items()}, FLOAT32)
    assert verdict.error == pytest.approx(2.0)
    assert [text.split("[")[0] for text in verdict.complaints] == ["grad_q"]


def test_the_budget_is_twice_a_plain_implementation_or_the_floor() -> None:
    """The yardstick widens a budget that it exceeds by half, and never narrows one; nor does one that overflows."""
    right, actual = whole(random(50, 8)), random(50, 8).float()
    coarse = random(50, 8) * 1.0005
    yardstick = {"output": yardstick_difference("output", actual, right, coarse)}
    widened = FLOAT32.widened(yardstick)
    assert widened.block == pytest.approx(2 * 0.0005)
    assert FLOAT16.widened(yardstick) == FLOAT16
    differences = {"output": difference("output", random(50, 8) * 1.0009, right)}
    assert not judge(differences, FLOAT32).ok
    assert judge(differences, widened).ok
    broken = {"output": yardstick_difference("output", actual, right, coarse * math.nan)}
    assert FLOAT32.widened(broken) == FLOAT32


@pytest.mark.parametrize("precision", sorted(FLOORS))
def test_no_budget_lets_a_wrong_row_pass(precision: str) -> None:
    """Whatever the precision, a row that was never computed (error 1) exceeds what a row may be off by."""
    assert Budget.of(FLOORS[precision]).row <= 0.5
