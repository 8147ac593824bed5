"""Gradients at a kink: any slope between those of its two sides is right, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from orchestrator.verify.rule.judgement import Judgement
from orchestrator.verify.rule.kinks import kinks_of
from orchestrator.verify.rule.output_rows import whole_answer
from orchestrator.verify.rule.reference import Reference
from orchestrator.verify.rule.structured import TIES, structured
from orchestrator.workload import Config, Expected, Problem

Function = Callable[[torch.Tensor], torch.Tensor]


def gradient(function: Function, x: torch.Tensor) -> torch.Tensor:
    leaf = x.detach().clone().requires_grad_()
    with torch.enable_grad():
        (found,) = torch.autograd.grad(function(leaf).sum(), leaf)
    return found


def judged(
    function: Function, by: Function, x: torch.Tensor, precision: str, *, own: bool = True
) -> Judgement:
    """The verdict on the gradient of one way to compute a function, `by`."""

    def answers(problem: Problem) -> dict[str, Expected]:
        return {"grad_x": whole_answer(gradient(function, problem.inputs[0].double()))}

    problem = Problem(Config({}, "cpu"), "default", (x,), {}, torch.float64, 1e9, 0)
    truth = Reference(answers, problem, precision, seed=0, own_inputs=own)
    outputs = {"grad_x": gradient(by, x)}
    if own:
        return truth.judge(outputs)
    return truth.judge_structured(outputs, finite_only=False)


def drawn(*shape: int, dtype: torch.dtype) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def pooled(x: torch.Tensor) -> torch.Tensor:
    return nn.functional.max_pool1d(x, 4)


def by_amax(x: torch.Tensor) -> torch.Tensor:
    return x.view(*x.shape[:-1], -1, 4).amax(-1)


def hinge(x: torch.Tensor) -> torch.Tensor:
    return torch.clamp(1 - x, min=0)


WAYS: dict[str, tuple[Function, Function]] = {
    "hardtanh, clamp": (nn.functional.hardtanh, lambda x: x.clamp(-1, 1)),
    "max_pool1d, amax": (pooled, by_amax),
    "hinge, relu": (hinge, lambda x: torch.relu(1 - x)),
    "abs, where": (
        lambda x: (x - 1).abs(),
        lambda x: torch.where(x >= 1, x - 1, 1 - x),
    ),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("dtype", "precision"), [(torch.bfloat16, "bfloat16"), (torch.float16, "float16")]
)
def test_either_slope_is_right_on_inputs_that_lie_on_a_kink(
    way: str, dtype: torch.dtype, precision: str
) -> None:
    """Some are 1, and some of a window are equal, as they are among half precision's few values."""
    x = drawn(64, 512, dtype=dtype).mul(64).round().div(64)
    function, by = WAYS[way]
    assert not torch.equal(gradient(function, x), gradient(by, x))
    assert judged(function, by, x, precision).ok


@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_asked_on_ties_where_a_unit_of_rounding_moves_a_gradient(way: str) -> None:
    """Inputs rounded to two bits are equal, and 1, more often than not."""
    inputs = structured(TIES, (drawn(16, 128, dtype=torch.float32),))
    assert inputs is not None
    function, by = WAYS[way]
    assert judged(function, by, inputs[0], "float32", own=False).ok


FAULTS: dict[str, Any] = {
    "halved": lambda x: (by_amax(x) + by_amax(x).detach()) / 2,
    "spread over the window": lambda x: x.view(*x.shape[:-1], -1, 4).mean(-1),
    "the last window left out": lambda x: by_amax(x)[..., :-1],
    "a factor of 1.02": lambda x: 1.02 * by_amax(x),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(
    ("dtype", "precision"), [(torch.bfloat16, "bfloat16"), (torch.float32, "float32")]
)
def test_a_wrong_gradient_is_wrong_beside_kinks(
    fault: str, dtype: torch.dtype, precision: str
) -> None:
    """What is forgiven is a slope at a kink, and not the rest of the gradient."""
    assert not judged(pooled, FAULTS[fault], drawn(64, 512, dtype=dtype), precision).ok


def test_a_sum_that_is_nearly_zero_may_fall_to_either_side() -> None:
    """Of a distance's hinge, float16 decides rows that float64 decides otherwise: torch's own is
    right.
    """

    def loss(x: torch.Tensor) -> torch.Tensor:
        a, p, n = x.unbind(0)
        return nn.functional.triplet_margin_loss(a, p, n, reduction="sum")

    for seed in range(4):
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(3, 200, 64, generator=generator, dtype=torch.float64).half()
        assert judged(loss, loss, x, "float16").ok


def test_a_cloud_of_draws_is_no_kink() -> None:
    """One gap among 32 draws is wide by chance in few elements; two sides are told in all."""
    generator = torch.Generator().manual_seed(0)
    right = torch.zeros(20, 50, dtype=torch.float64)
    noise = 1e-3 * torch.randn(32, 20, 50, generator=generator, dtype=torch.float64)
    sides = torch.randint(0, 2, (32, 20, 50), generator=generator)
    cloud = kinks_of(right, list(noise), torch.float32)
    assert float(cloud.at.double().mean()) < 0.3
    apart = kinks_of(right, list(noise + sides), torch.float32)
    assert bool(apart.at.all())
    found = torch.tensor([[0.5], [1.5]], dtype=torch.float64).expand(2, 50)
    left = apart.forgiven(found, right[:2], slice(0, 2))
    assert bool((left[0] == 0).all())
    assert bool((left[1] - 0.5).abs().lt(0.01).all())
