"""Whether outputs are right: float by the limits, integers by equality, infinities where they
belong.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from orchestrator.verify.rule.judgement import Judgement
from orchestrator.verify.rule.output_rows import ShapeError, whole_answer
from orchestrator.verify.rule.outputs import UnknownDtypeError
from orchestrator.verify.rule.reference import ALL_DRAWS, FEW_DRAWS, Reference
from orchestrator.workload import Config, Expected, Problem

Compute = Callable[..., Any]


def as_expected(answer: Any) -> dict[str, Expected]:
    return {"output": answer if isinstance(answer, Expected) else whole_answer(answer)}


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(
        shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    ).to(dtype)


def reference(
    compute: Compute, *inputs: torch.Tensor, precision: str = "float32", own: bool = True
) -> Reference:
    """Of a function of the inputs, floats among them in float64."""

    def of(problem: Problem) -> Any:
        wide = (
            one.to(torch.float64)
            if one.dtype in (torch.float32, torch.float16, torch.bfloat16)
            else one
            for one in problem.inputs
        )
        return as_expected(compute(*wide))

    problem = Problem(Config({}, "cpu"), "default", inputs, {}, torch.float64, 1e9, 0)
    return Reference(of, problem, precision, seed=0, own_inputs=own)


def judged(
    compute: Compute, actual: Any, *inputs: torch.Tensor, precision: str = "float32"
) -> Judgement:
    outputs = actual if isinstance(actual, dict) else {"output": actual}
    return reference(compute, *inputs, precision=precision).judge(outputs)


def affine(x: torch.Tensor) -> torch.Tensor:
    return 2 * x + 1


def test_rounding_to_the_nearest_is_right_without_a_draw() -> None:
    """Draws cost a few references each: none is made where nothing is open."""
    x = random(64, 64, dtype=torch.bfloat16)
    truth = reference(affine, x, precision="bfloat16")
    assert truth.judge({"output": affine(x.double()).bfloat16()}).ok
    assert truth.draws == 0


def test_a_clear_case_takes_a_draw_or_four_and_a_close_one_eight() -> None:
    """An error far below every limit is told by the first draw, a plain one by the first four."""
    x = random(64, 256)
    truth = reference(lambda x: x.exp().sum(-1), x)
    assert truth.judge({"output": x.exp().sum(-1)}).ok
    assert truth.draws in (0, 1)
    assert not truth.judge({"output": 1.1 * x.exp().sum(-1)}).ok
    assert truth.draws == FEW_DRAWS
    assert not truth.judge({"output": (x.double().exp().sum(-1) * (1 + 6e-6)).float()}).ok
    assert truth.draws <= ALL_DRAWS


def test_zeros_are_wrong_however_small_the_right_values_are() -> None:
    """Values of 1e-14 are as good as any others."""
    x = random(64, 64)
    assert judged(lambda x: x * 1e-14, x * 1e-14, x).ok
    assert not judged(lambda x: x * 1e-14, torch.zeros(64, 64), x).ok


@pytest.mark.parametrize("count", [1, 1000])
def test_integers_are_equal_or_wrong(count: int) -> None:
    """However large the sums are that an element differs from by one."""
    x = torch.randint(0, 1000, (65536,), generator=torch.Generator().manual_seed(0))
    right = x.cumsum(0)
    assert judged(lambda x: x.cumsum(0), right, x).ok
    wrong = right.clone()
    wrong[-count:] += 1
    text = str(judged(lambda x: x.cumsum(0), wrong, x))
    assert text.startswith(
        f"{count} of 65536 elements differ, the first is output[{65536 - count}]"
    )


def test_integers_beyond_two_to_the_53rd_are_compared_in_their_own_dtype() -> None:
    """Float64 could not tell them apart."""
    x = torch.full((4,), 2**60)
    assert not judged(lambda x: x + 1, x, x).ok


def test_a_tie_of_quantisation_may_fall_to_either_side() -> None:
    """Where the last bit of a scale decides, and nowhere else."""
    x = torch.tensor([0.5, 1.5, 2.5, 127.0])
    values = torch.tensor([1, 2, 2, 127], dtype=torch.int8)
    assert judged(lambda x: (x * (127 / x.max())).round().to(torch.int8), values, x).ok
    values[1] = 3
    assert not judged(lambda x: (x * (127 / x.max())).round().to(torch.int8), values, x).ok


def test_complex_outputs_are_judged_by_both_parts() -> None:
    """The conjugate is wrong, and so is an imaginary part of zero."""
    x = torch.complex(random(8, 64), random(8, 64, seed=1))
    compute = lambda x: torch.fft.fft(x.to(torch.complex128))  # noqa: E731
    right = torch.fft.fft(x)
    assert judged(compute, right, x).ok
    for wrong in (
        right.conj().resolve_conj(),
        torch.complex(right.real, torch.zeros_like(right.real)),
    ):
        assert not judged(compute, wrong, x).ok
    one = right.clone()
    one[3, 7] += 0.5j
    assert "output[3, 7]:" in str(judged(compute, one, x))


def test_infinities_belong_where_the_reference_has_them() -> None:
    """And nowhere else; NaN for an infinity is wrong, too."""
    x = random(8, 8)
    compute = lambda x: torch.where(x > 1, -math.inf, x * 3)  # noqa: E731
    right = torch.where(x > 1, -math.inf, x * 3)
    assert judged(compute, right, x).ok
    place = tuple((x > 1).nonzero()[0].tolist())
    for value in (math.nan, math.inf, -1e30):
        wrong = right.clone()
        wrong[place] = value
        assert not judged(compute, wrong, x).ok
    wrong = right.clone()
    wrong[tuple((x < 0).nonzero()[0].tolist())] = -math.inf
    assert "is -inf, expected a finite value" in str(judged(compute, wrong, x))


def test_values_beyond_the_largest_of_the_dtype_may_overflow() -> None:
    """To the infinity or the largest number of their sign; not to anything smaller."""
    x = torch.tensor([[300.0, -300.0, 2.0, 1.0]], dtype=torch.float16)
    compute = lambda x: x * 300  # noqa: E731
    assert judged(compute, x * 300, x, precision="float16").ok
    clamped = (x.float() * 300).clamp(-65504, 65504).half()
    assert judged(compute, clamped, x, precision="float16").ok
    clamped[0, 0] = 600
    assert not judged(compute, clamped, x, precision="float16").ok


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_eight_bit_floats_are_widened_first(dtype: torch.dtype) -> None:
    """A cast is right; twice the values are not, nor is a row of zeros."""
    x = random(16, 64, dtype=torch.bfloat16)
    assert judged(lambda x: x * 1.0, x.to(dtype), x, precision="bfloat16").ok
    assert not judged(lambda x: x * 1.0, (2 * x).to(dtype), x, precision="bfloat16").ok
    assert not judged(
        lambda x: x * 1.0, torch.cat([x[:-1], 0 * x[-1:]]).to(dtype), x, precision="bfloat16"
    ).ok


def test_moved_values_have_no_rounding() -> None:
    """Two neighbours of a sort that differ by less than any noise of the whole."""
    x = random(8, 1000, dtype=torch.bfloat16)
    compute = lambda x: x.sort(-1).values  # noqa: E731
    right = x.sort(-1).values
    assert judged(compute, right, x, precision="bfloat16").ok
    wrong = right.clone()
    wrong[3, 500] = right[3, 490]
    assert "without rounding" in str(judged(compute, wrong, x, precision="bfloat16"))


def test_a_reference_that_torch_does_not_see_is_judged_more_widely_and_says_so() -> None:
    """Only inputs and outputs are noisy; a plain error is wrong all the same."""
    import numpy as np

    def compute(x: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(np.exp(x.numpy()) / np.exp(x.numpy()).sum(-1, keepdims=True))

    x = random(16, 128)
    verdict = judged(compute, torch.softmax(x, -1) * (1 + 2e-7), x)
    assert verdict.ok
    assert "torch sees no operation" in verdict.notes[0]
    assert not judged(compute, torch.softmax(x, -1) * 1.0001, x).ok


def test_a_reference_that_reads_the_bits_of_its_inputs_is_given_them() -> None:
    """Its draws are noisy by its operations alone, and no excuse for anything."""
    x = random(64, 64, dtype=torch.bfloat16)

    def of(problem: Problem) -> Any:
        bits = problem.inputs[0].view(torch.uint8).view(64, -1)[:, :128].double()
        return as_expected(bits * 3)

    problem = Problem(Config({}, "cpu"), "default", (x,), {}, torch.float64, 1e9, 0)
    truth = Reference(of, problem, "float32", seed=0)
    right = x.view(torch.uint8).double() * 3
    assert truth.judge({"output": right.float()}).ok
    assert not truth.judge({"output": right.roll(1, 1).float()}).ok
    assert not truth.judge({"output": (right * (1 + 1e-5)).float()}).ok


def test_an_unknown_dtype_is_refused_by_name() -> None:
    """Never cast to one that is known."""
    x = random(4, 4)
    packed = torch.empty(4, 4, dtype=torch.float8_e8m0fnu)
    with pytest.raises(UnknownDtypeError, match=r"output is of torch\.float8_e8m0fnu"):
        judged(affine, packed, x)


def test_a_wrong_shape_names_a_transpose_that_is_missing() -> None:
    """Where the shape is a permutation of the expected one."""
    x = random(4, 6)
    with pytest.raises(
        ShapeError, match=r"returned shape \(6, 4\), expected \(4, 6\): a transpose is missing\?"
    ):
        judged(affine, affine(x).T.contiguous(), x)


def test_shapes_without_elements_and_without_dimensions_are_judged() -> None:
    """(n, 0) and a single number."""
    x = random(4, 0)
    assert judged(affine, affine(x), x).ok
    y = random(50)
    assert judged(lambda y: y.sum(), y.sum(), y).ok
    assert not judged(lambda y: y.sum(), y.sum() * 1.01, y).ok


def test_sampled_rows_are_placed_in_the_output() -> None:
    """The message gives the row's index in the whole."""
    x = random(2, 50, 8)
    index = (torch.tensor([0, 1, 1]), torch.tensor([3, 7, 49]))

    def compute(x: torch.Tensor) -> Expected:
        return Expected((3 * x)[index], index)

    actual = 3 * x
    assert judged(compute, actual, x).ok
    actual[1, 7] = 0
    assert "output[1, 7" in str(judged(compute, actual, x))
    actual = 3 * x
    actual[0, 0] = 0  # not among the rows
    assert judged(compute, actual, x).ok


def test_a_message_says_where_how_far_and_what_it_looks_like() -> None:
    """Which heads are wrong, of how many; order one and the rounding of a lower precision have a
    hint.
    """
    x, y = random(64, 512), random(512, 64, seed=1)
    compute = lambda x, y: x @ y  # noqa: E731
    text = str(judged(compute, (x.bfloat16() @ y.bfloat16()).float(), x, y))
    assert "the size of rounding to bfloat16" in text
    text = str(judged(compute, (x @ y).T.contiguous(), x, y))
    assert "as large as the values" in text
    assert "of 4096 elements are wrong" in text
    x = random(1, 16, 4, 8)
    actual = affine(x)
    actual[:, :, 1:] = 0
    text = str(judged(affine, actual, x))
    assert "output[:, :, 1..3, :] (3 of 4 in dimension 2): 384 of 512 elements are wrong" in text


def test_inputs_with_structure_look_for_faults_of_order_one() -> None:
    """A percent is let pass, half is not, nor is an infinity; large inputs are asked for finite
    values only.
    """
    x = random(64, 64)
    truth = reference(affine, x, own=False)
    for factor, ok in ((1.01, True), (1.5, False), (math.inf, False)):
        assert truth.judge_structured({"output": affine(x) * factor}, finite_only=False).ok is ok
        assert truth.judge_structured({"output": affine(x) * factor}, finite_only=True).ok is (
            factor < 2
        )


def test_more_rows_are_judged_by_the_noise_of_few_and_then_by_their_own() -> None:
    """A plainly wrong row is refused either way; asking by the noise of others leaves no trace."""
    x = random(64, 256)
    few = reference(lambda x: x.exp().cumsum(-1), x[:8])
    assert few.judge({"output": x[:8].exp().cumsum(-1) * (1 + 1e-7)}).ok
    many, right = reference(lambda x: x.exp().cumsum(-1), x), x.exp().cumsum(-1)
    assert few.judge_by_this_noise(many, {"output": right}).ok
    wrong = right.clone()
    wrong[40] *= 0.9
    assert "output[40" in str(few.judge_by_this_noise(many, {"output": wrong}))
    assert not many.judge({"output": wrong}).ok
    assert many.judge({"output": right}).ok


def tied(dtype: torch.dtype) -> torch.Tensor:
    """Values of which many are equal."""
    return random(8, 200, dtype=torch.float64).mul(2).round().div(2).to(dtype)


@pytest.mark.parametrize(
    ("dtype", "precision"),
    [(torch.float64, "float64"), (torch.float32, "float32"), (torch.bfloat16, "bfloat16")],
)
def test_the_order_of_ties_is_demanded_where_the_reference_has_one(
    dtype: torch.dtype, precision: str
) -> None:
    """Inputs that are equal are equal to everybody: no rounding decides between them."""
    x, edges = tied(dtype), torch.arange(-4, 5, dtype=dtype)

    def stable(x: torch.Tensor) -> torch.Tensor:
        return torch.argsort(x, dim=1, stable=True)

    latest_first = x.shape[1] - 1 - stable(x.flip(1))
    assert judged(stable, stable(x), x, precision=precision).ok
    assert not judged(stable, latest_first, x, precision=precision).ok
    first = (x == x.amax(1, keepdim=True)).to(torch.int8).argmax(1)
    assert judged(lambda x: x.argmax(1), first, x, precision=precision).ok
    latest = x.shape[1] - 1 - (x == x.amax(1, keepdim=True)).flip(1).to(torch.int8).argmax(1)
    assert not judged(lambda x: x.argmax(1), latest, x, precision=precision).ok

    def bins(x: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
        return torch.searchsorted(edges, x, right=True)

    left = torch.searchsorted(edges, x)
    assert judged(bins, bins(x, edges), x, edges, precision=precision).ok
    assert not judged(bins, left, x, edges, precision=precision).ok


def test_weights_decide_ties_of_whole_numbers_either_way_and_large_sums_are_exact() -> None:
    """A grey value of 170.5 is 170 or 171, as 0.299 is rounded; a lost bit of a sum is one too many."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (64, 64, 3), generator=generator, dtype=torch.uint8)

    def grey(x: torch.Tensor) -> torch.Tensor:
        return (x.double() @ torch.tensor([0.299, 0.587, 0.114]).double()).round().to(torch.uint8)

    thousandths = (pixels.int() * torch.tensor([299, 587, 114])).sum(-1)
    for right in ((thousandths + 500) // 1000, (thousandths + 499) // 1000):
        assert judged(grey, right.to(torch.uint8), pixels).ok
    assert not judged(grey, (thousandths // 1000).to(torch.uint8), pixels).ok

    numbers = torch.randint(0, 2**20, (8, 1000), generator=generator)
    total = numbers.sum(1)
    assert judged(lambda x: x.double().sum(1).long(), total, numbers).ok
    assert not judged(lambda x: x.double().sum(1).long(), total + 1, numbers).ok


@pytest.mark.parametrize(
    ("dtype", "precision"), [(torch.float32, "float32"), (torch.bfloat16, "bfloat16")]
)
def test_any_of_equal_values_is_right_where_the_reference_names_any(
    dtype: torch.dtype, precision: str
) -> None:
    """A sort that need not be stable leaves the order of ties open; that of others it does not."""
    x = random(4, 300).to(torch.bfloat16).to(dtype)  # pairs and triples are equal

    def some(x: torch.Tensor) -> torch.Tensor:
        return torch.sort(x, dim=1).indices

    latest_first = x.shape[1] - 1 - torch.sort(x.flip(1), dim=1, stable=True).indices
    assert not torch.equal(latest_first, some(x))
    assert judged(some, latest_first, x, precision=precision).ok
    wrong = judged(some, latest_first.roll(1, 1), x, precision=precision)
    assert not wrong.ok
    assert "the reference may name any of equal values" in str(wrong)


def test_a_rounded_threshold_may_fall_on_either_side() -> None:
    """In float32 0.1 is not what it is in float64, and a value may be exactly that."""
    x = random(64, 64)
    x[0] = 0.1
    assert judged(lambda x: x > 0.1, x > 0.1, x).ok
    assert bool((x.double() > 0.1)[0].all()) is not bool((x > 0.1)[0].any())
    assert not judged(lambda x: x > 0.1, x > 0.11, x).ok


@pytest.mark.parametrize(
    ("dtype", "precision"), [(torch.float32, "float32"), (torch.bfloat16, "bfloat16")]
)
def test_many_small_values_are_not_lost_beside_a_few_large_ones(
    dtype: torch.dtype, precision: str
) -> None:
    """The noise of the whole is that of the largest: half of 1 / x^2 would be free beside it."""

    def steep(x: torch.Tensor) -> torch.Tensor:
        return torch.exp(4 * x)

    x = random(32, 256).to(dtype)
    right = steep(x.double()).to(dtype)
    assert judged(steep, right, x, precision=precision).ok
    wrong = torch.where(right < right.float().median(), 0, right)
    found = judged(steep, wrong, x, precision=precision)
    assert not found.ok
    if precision == "bfloat16":
        assert "values are off by more than half of themselves" in str(found)


def test_values_that_cancel_may_be_far_off_beside_themselves() -> None:
    """That is what the draws show of them."""

    def cancels(x: torch.Tensor) -> torch.Tensor:
        return (1000 + x) - 1000

    x = random(32, 256)
    found = ((1000 + x.bfloat16()) - 1000).to(torch.bfloat16)
    assert judged(cancels, found, x.bfloat16(), precision="bfloat16").ok


def test_what_the_reference_loses_in_the_working_dtype_excuses_the_same_values_alone() -> None:
    """Squares overflow for a fifth of the inputs, and are 0 as quotients; the rest are asked for."""

    def quotients(x: torch.Tensor) -> torch.Tensor:
        return 1 / (x * x)

    x = (200 * random(2000)).to(torch.float16)
    right = quotients(x.double()).to(torch.float16)

    def of(problem: Problem) -> Any:
        return as_expected(quotients(problem.inputs[0].to(problem.dtype)))

    problem = Problem(Config({}, "cpu"), "default", (x,), {}, torch.float64, 1e9, 0)
    made = Reference(of, problem, "float16", seed=0)
    assert made.judge({"output": right}).ok
    assert made.judge({"output": quotients(x)}).ok
    assert not made.judge({"output": torch.where(right < 2.0**-14, 0, right)}).ok
