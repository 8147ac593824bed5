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
