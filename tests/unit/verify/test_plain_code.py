"""Code that is the reference itself, run by torch in the trial's dtype, is right: forward and backward,
on a workload's own inputs and on those with structure.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import functional

from tests.unit.verify.test_verifier import draw, verified, verifier, wide

ROWS, SQUARES = ((64, 96),), ((2, 40, 16),) * 3


def softmax_without_maximum(x: torch.Tensor) -> torch.Tensor:
    raised = torch.exp(x)
    return raised / raised.sum(-1, keepdim=True)


def rms_norm(x: torch.Tensor) -> torch.Tensor:
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6)


def attention_of_unit_vectors(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    q, k = functional.normalize(q, dim=-1), functional.normalize(k, dim=-1)
    return torch.softmax(10 * q @ k.mT, -1) @ v


PLAIN: dict[str, tuple[Callable[..., torch.Tensor], tuple[tuple[int, ...], ...]]] = {
    "attention of unit vectors": (attention_of_unit_vectors, SQUARES),
    "batch norm": (
        lambda x: functional.batch_norm(x, None, None, training=True),
        ((64, 16, 8),),
    ),
    "cosine": (lambda x, y: functional.cosine_similarity(x, y, dim=-1), ROWS * 2),
    "exp": (torch.exp, ROWS),
    "fractional power": (lambda x: x.abs() ** 0.3, ROWS),
    "hypotenuse": (lambda x, y: torch.sqrt(x * x + y * y), ROWS * 2),
    "log of sigmoid": (lambda x: torch.log(torch.sigmoid(x)), ROWS),
    "log of softmax": (lambda x: torch.log(torch.softmax(x, -1)), ROWS),
    "logit": (lambda x: torch.logit(torch.sigmoid(x)), ROWS),
    "rms norm": (rms_norm, ROWS),
    "softmax without maximum": (softmax_without_maximum, ROWS),
    "softplus": (lambda x: torch.log(1 + torch.exp(x)), ROWS),
    "unit vectors": (lambda x: functional.normalize(x, dim=-1), ROWS),
}


IMAGES = ((1, 2, 40, 40),)
# what interpolates knows the places that it takes values from as float32 numbers
INTERPOLATED = {
    f"{mode}, {size} of 40, {aligned}": (
        lambda x, mode=mode, size=size, aligned=aligned: functional.interpolate(
            x, (size, size), mode=mode, align_corners=aligned == "by corners"
        ),
        IMAGES,
    )
    for mode in ("bilinear", "bicubic")
    for size in (11, 130)
    for aligned in ("by corners", "by middles")
}
PLAIN |= INTERPOLATED


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("name", PLAIN)
def test_the_reference_in_the_trial_s_own_dtype_is_right(
    name: str, dtype: str, backward: bool
) -> None:
    """Where it overflows on inputs with structure, so may an implementation."""
    function, shapes = PLAIN[name]
    names = tuple("abc"[: len(shapes)])
    asked: dict[str, Any] = {"backward": backward, "names": names, "dtype": dtype}
    verdict = verified(function, wide(function), draw(*shapes), **asked)
    assert verdict.ok, str(verdict)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_torch_s_own_samples_of_a_grid_are_right(mode: str) -> None:
    """Places near 0 are rounded once 1 is added to them."""

    def sampled(x: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        return functional.grid_sample(x, torch.tanh(places), mode=mode, align_corners=False)

    shapes = ((1, 2, 60, 60), (1, 50, 50, 2))
    verdict = verified(sampled, wide(sampled), draw(*shapes), names=("x", "places"))
    assert verdict.ok, str(verdict)


@pytest.mark.parametrize("size", [13, 100])
def test_torch_s_own_antialiased_pictures_are_right(size: int) -> None:
    def smaller(x: torch.Tensor) -> torch.Tensor:
        return functional.interpolate(x, (size, size), mode="bilinear", antialias=True)

    verdict = verified(smaller, wide(smaller), draw(*IMAGES), backward=True, names=("x",))
    assert verdict.ok, str(verdict)


SPECIAL: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    name: getattr(torch.special, name)
    for name in ("bessel_y0", "bessel_y1", "i1e", "log_ndtr", "modified_bessel_k0", "ndtri")
}


@pytest.mark.parametrize("name", SPECIAL)
def test_functions_that_torch_approximates_are_right(name: str) -> None:
    function = SPECIAL[name]

    def by(x: torch.Tensor) -> torch.Tensor:
        return function(torch.sigmoid(x))

    verdict = verified(by, wide(by), draw(*ROWS))
    assert verdict.ok, str(verdict)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_quotient_that_rounding_makes_whole_may_be_cut_on_either_side(
    dtype: str, seed: int
) -> None:
    def whole(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.div(x, y, rounding_mode="trunc")

    def by_hand(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return (x / y).trunc()

    def down(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return (x / y).floor()

    def drawn(config: Any, form: str, given: int) -> tuple[torch.Tensor, ...]:
        x, y = draw(*ROWS * 2)(config, form, given + seed)
        return 8 * x, 1 + y.abs()

    for right in (whole, by_hand):
        verdict = verified(right, wide(whole), drawn, names=("x", "y"), dtype=dtype)
        assert verdict.ok, str(verdict)
    assert not verified(down, wide(whole), drawn, names=("x", "y"), dtype=dtype).ok


def test_torch_s_own_ctc_loss_has_right_gradients() -> None:
    """Its steps are sums of logarithms."""
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(1, 20, (16, 30), generator=generator)
    lengths = torch.full((16,), 50), torch.full((16,), 30)

    def loss(x: torch.Tensor) -> torch.Tensor:
        return functional.ctc_loss(x.log_softmax(-1), targets, *lengths, reduction="sum")

    def last_step_lost(x: torch.Tensor) -> torch.Tensor:
        shorter = lengths[0] - 1, lengths[1]
        return functional.ctc_loss(x.log_softmax(-1), targets, *shorter, reduction="sum")

    given: dict[str, Any] = {"backward": True, "names": ("x",)}
    verdict = verified(loss, wide(loss), draw((50, 16, 20)), **given)
    assert verdict.ok, str(verdict)
    assert not verified(last_step_lost, wide(loss), draw((50, 16, 20)), **given).ok


def test_a_wrong_value_among_moved_ones_is_found_beside_eight_bit_inputs() -> None:
    """Torch puts no such tensor beside another."""

    def moved(x: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
        return scales.flip(0)

    def one_left_behind(x: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
        out = scales.flip(0)
        out[3, 3] = scales[3, 3]
        return out

    def drawn(config: Any, form: str, seed: int) -> tuple[torch.Tensor, ...]:
        x, scales = draw(*ROWS * 2)(config, form, seed)
        return x.to(torch.float8_e4m3fn), scales

    named: dict[str, Any] = {"names": ("x", "scales")}
    assert verified(moved, wide(moved), drawn, **named).ok
    verdict = verified(one_left_behind, wide(moved), drawn, **named)
    assert "the values are the inputs' own, without rounding, and 1 differ" in str(verdict)


def test_values_that_are_made_of_bits_have_no_rounding() -> None:
    """As of stochastic rounding by given random bits: to the nearest is another answer."""

    def rounded(x: torch.Tensor, bits: torch.Tensor) -> torch.Tensor:
        return ((x.float().view(torch.int32) + bits) & -65536).view(torch.float32).to(x.dtype)

    def by_shifts(x: torch.Tensor, bits: torch.Tensor) -> torch.Tensor:
        return (((x.view(torch.int32) + bits) >> 16) << 16).view(torch.float32)

    def nearest(x: torch.Tensor, bits: torch.Tensor) -> torch.Tensor:
        return x.bfloat16().float()

    def drawn(config: Any, form: str, seed: int) -> tuple[torch.Tensor, ...]:
        (x,) = draw(*ROWS)(config, form, seed)
        generator = torch.Generator().manual_seed(seed)
        return x, torch.randint(2**16, x.shape, generator=generator, dtype=torch.int32)

    named: dict[str, Any] = {"names": ("x", "bits")}
    assert verified(by_shifts, wide(rounded), drawn, **named).ok
    assert not verified(nearest, wide(rounded), drawn, **named).ok


def test_what_overflows_where_its_reference_does_not_is_wrong() -> None:
    """A softmax whose reference subtracts the maximum must do so, too."""
    reference = wide(lambda x: torch.softmax(x, -1))
    verdict = verified(softmax_without_maximum, reference, draw(*ROWS))
    assert "large inputs" in str(verdict)


def test_a_value_that_is_finite_in_the_reference_s_own_dtype_is_asked_for() -> None:
    """Those beside it that are not are left out one by one."""

    def rows_of_softmax(x: torch.Tensor) -> torch.Tensor:
        return torch.cat([softmax_without_maximum(x), torch.softmax(x, -1)])

    def lost(x: torch.Tensor) -> torch.Tensor:
        found = rows_of_softmax(x).clone()
        found[-1] = torch.where(x.abs().amax() > 50, math.nan, found[-1])
        return found

    assert verified(rows_of_softmax, wide(rows_of_softmax), draw(*ROWS)).ok
    verdict = verified(lost, wide(rows_of_softmax), draw(*ROWS))
    assert "inputs: output[127, 0] is nan, expected a finite value; 96 of" in str(verdict)


@pytest.mark.parametrize(("dtype", "tried"), [("float32", True), ("float16", False)])
def test_a_kind_on_which_nothing_is_finite_in_the_own_dtype_counts_as_not_tried(
    dtype: str, tried: bool
) -> None:
    """Nothing was asked there: the sums of squares of large inputs overflow in half precision."""

    def squares(x: torch.Tensor) -> torch.Tensor:
        return (100 * x).square().sum(-1, keepdim=True)

    made = verifier(squares, wide(squares), draw(*ROWS), dtype=dtype)
    assert made.verify("before", structures=True).ok
    assert ("large" in made.tried) is tried
