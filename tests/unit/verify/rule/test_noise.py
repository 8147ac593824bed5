"""Draws of a reference: what is perturbed, by how much, and what is left alone."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from orchestrator.verify.rule.noise import GRIDS, Noise, ulp
from orchestrator.verify.rule.precisions import UNITS
from orchestrator.workload import Config, Problem

MOVES = {
    "clone": lambda x: x.clone(),
    "cat": lambda x: torch.cat([x, x]),
    "gather": lambda x: x.gather(0, torch.zeros_like(x, dtype=torch.int64)),
    "index": lambda x: x[torch.tensor([2, 0])],
    "index_put": lambda x: x.clone().index_put_((torch.tensor([0]),), x[1]),
    "index_select": lambda x: x.index_select(0, torch.tensor([1])),
    "masked_fill": lambda x: x.masked_fill(x > 0, -1.0),
    "max": lambda x: x.max(-1).values,
    "amax": lambda x: x.amax(-1),
    "sort": lambda x: x.sort(-1).values,
    "topk": lambda x: x.topk(2, -1).values,
    "median": lambda x: x.median(-1).values,
    "cummax": lambda x: x.cummax(-1).values,
    "where": lambda x: torch.where(x > 0, x, 0.5),
    "clamp": lambda x: x.clamp(-0.5, 0.5),
    "relu": torch.relu,
    "abs": torch.abs,
    "neg": torch.neg,
    "round": torch.round,
    "floor": torch.floor,
    "flip": lambda x: x.flip(-1),
    "roll": lambda x: x.roll(1, -1),
    "pad": lambda x: torch.nn.functional.pad(x, (1, 1)),
    "tril": torch.tril,
    "repeat": lambda x: x.repeat(2, 1),
    "transpose": lambda x: x.T.contiguous(),
    "cast": lambda x: x.to(torch.float32).to(torch.float64),
    "max_pool": lambda x: torch.nn.functional.max_pool1d(x[None], 2),
    "embedding": lambda x: torch.nn.functional.embedding(torch.tensor([1, 0]), x),
    "stack": lambda x: torch.stack([x, x]),
    "eye": lambda x: torch.eye(3, dtype=x.dtype),
    "nan_to_num": torch.nan_to_num,
    "hardtanh": torch.nn.functional.hardtanh,
    "hardshrink": torch.nn.functional.hardshrink,
    "adaptive_max_pool": lambda x: torch.nn.functional.adaptive_max_pool2d(x[None], (2, 2)),
    "scatter_reduce, amax": lambda x: torch.zeros_like(x).scatter_reduce(
        0, torch.zeros_like(x, dtype=torch.int64), x, "amax"
    ),
    "scatter": lambda x: torch.zeros_like(x).scatter(0, torch.zeros_like(x, dtype=torch.int64), x),
}
COMPUTES = {
    "add": lambda x: x + 1,
    "add of half a whole number": lambda x: x.round() + 0.3,
    "whole numbers beyond 1 / u": lambda x: x.round() * 2**30 + 2**30,
    "scatter_reduce, sum": lambda x: torch.ones_like(x).scatter_reduce(
        0, torch.zeros_like(x, dtype=torch.int64), x, "sum"
    ),
    "add in place": lambda x: x.clone().add_(1),
    "multiply": lambda x: x * 3,
    "exp": torch.exp,
    "sum": lambda x: x.sum(-1),
    "mean": lambda x: x.mean(),
    "matmul": lambda x: x @ x.T,
    "matmul out": lambda x: torch.mm(x, x.T, out=torch.empty(3, 3, dtype=x.dtype)),
    "softmax": lambda x: x.softmax(-1),
    "layer norm": lambda x: torch.nn.functional.layer_norm(x, (5,)),
    "attention": lambda x: torch.nn.functional.scaled_dot_product_attention(
        x[None], x[None], x[None]
    ),
    "FFT": lambda x: torch.fft.fft(x),
    "cumsum": lambda x: x.cumsum(-1),
    "index_add": lambda x: torch.zeros_like(x).index_add(0, torch.tensor([0, 0, 1]), x),
    "index_put that accumulates": lambda x: x.clone().index_put_(
        (torch.tensor([0, 0]),), x[1], accumulate=True
    ),
    "solve": lambda x: torch.linalg.solve(x[:, :3] + 9 * torch.eye(3, dtype=x.dtype), x),
    "bilinear": lambda x: torch.nn.functional.interpolate(x[None, None], (7, 7), mode="bilinear"),
    "sign of complex numbers": lambda x: torch.sgn(torch.complex(x, x + 1)),
    "convolution": lambda x: torch.nn.functional.conv1d(x[None], x[None, :, :2]),
}


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def drawn(compute, precision: str = "float32", seed: int = 0):
    """What a function gives for fixed values under the mode alone; (result, operations seen)."""
    noise = Noise(precision, seed)
    with noise:
        found = compute()
    return found, noise.seen


@pytest.mark.parametrize("name", MOVES)
def test_operations_that_only_move_values_are_left_alone(name: str) -> None:
    """Their results are values that were there before, to the last bit."""
    x = random(3, 5)
    found, seen = drawn(lambda: MOVES[name](x))
    assert torch.equal(found, MOVES[name](x))
    assert seen == 0


@pytest.mark.parametrize("name", COMPUTES)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_operations_that_compute_err_by_the_unit_roundoff(name: str, precision: str) -> None:
    """Not by nothing, and by no more than a few units of what the result's size explains."""
    x = random(3, 5)
    right = COMPUTES[name](x)
    found, seen = drawn(lambda: COMPUTES[name](x), precision)
    error = (found - right).abs().max() / right.abs().max()
    assert seen > 0
    assert 0 < error < 40 * UNITS[precision]


def test_an_unknown_operation_counts_as_one_that_computes() -> None:
    """A new name of torch makes the noise larger, never silent."""
    with torch.library._scoped_library("judging_test", "DEF") as library:
        library.define("twice(Tensor x) -> Tensor")
        library.impl("twice", lambda x: 2 * x, "CompositeExplicitAutograd")
        found, seen = drawn(lambda: torch.ops.judging_test.twice(random(4)))
    assert seen == 1
    assert not torch.equal(found, 2 * random(4))


WHOLE = {
    "add": lambda x: x.round() + 100,
    "subtract": lambda x: 1 - x.round(),
    "multiply in place": lambda x: x.round().mul_(3.0),
    "sum": lambda x: (x > 0).double().sum(-1),
    "cumsum": lambda x: (x > 0).double().cumsum(-1),
    "matmul": lambda x: x.round() @ x.T.round(),
}


@pytest.mark.parametrize("name", WHOLE)
def test_whole_numbers_are_added_and_multiplied_without_rounding(name: str) -> None:
    """Else a count that is cast to an integer were one less in every second draw."""
    x = 3 * torch.randn(3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found, seen = drawn(lambda: WHOLE[name](x))
    assert torch.equal(found, WHOLE[name](x))
    assert seen == 1


def test_infinities_and_nan_stay_what_they_are() -> None:
    """A perturbed minus infinity is minus infinity, at every size of tensor."""
    for count in (8, 100_000):
        x = torch.full((count,), -math.inf, dtype=torch.float64)
        assert torch.equal(drawn(lambda x=x: x + 1, "bfloat16")[0], x)


def test_a_sum_of_many_terms_errs_as_a_sequential_accumulator() -> None:
    """Results of K positive terms spread by about sqrt(K / 3) units of float32, whatever the
    working dtype above it.
    """
    x = torch.full((64, 4096), 0.7, dtype=torch.float64)
    found, _ = drawn(lambda: x.sum(-1))
    spread = float((found / 4096 / 0.7 - 1).square().mean().sqrt()) / 2.0**-24
    assert 0.5 * (4096 / 3) ** 0.5 < spread < 2 * 4096**0.5


def test_autograd_is_seen_too() -> None:
    """Gradients that the reference asks autograd for err as its forward operations do."""

    def gradient() -> torch.Tensor:
        x = random(4).requires_grad_()
        with torch.enable_grad():
            return torch.autograd.grad((x**3).sum(), x)[0]

    found, _ = drawn(gradient)
    right = 3 * random(4) ** 2
    assert 0 < float(((found - right) / right).abs().max()) < 1e-6


def test_values_that_round_alike_err_alike_in_half_precision() -> None:
    """A common factor is then no systematic error; values far apart err independently."""
    alike, _ = drawn(lambda: torch.ones(1000, dtype=torch.float64) * 1.0, "bfloat16")
    apart, _ = drawn(lambda: (1 + torch.rand(1000, dtype=torch.float64)) * 1.0, "bfloat16")
    assert alike.unique().numel() == 1
    assert apart.numel() - apart.unique().numel() < 10


def test_inputs_err_and_integers_do_not() -> None:
    """Inputs, parameters and upstream gradients are given in float64, each value off by at most a
    unit roundoff.
    """
    floats, whole = random(50).bfloat16(), torch.arange(5)
    problem = Problem(
        Config({}, "cpu"), "default", (floats, whole), {"w": floats}, torch.float64, 1.0, 0
    )
    inputs, state = Noise("bfloat16", 0).draw(lambda one: (one.inputs, one.state), problem)
    assert inputs[1] is whole
    for found in (inputs[0], state["w"]):
        error = (found / floats.double() - 1).abs()
        assert 0 < float(error.max()) <= 2.0**-8


@pytest.mark.parametrize("dtype", GRIDS)
def test_ulp_is_the_distance_of_neighbours(dtype: torch.dtype) -> None:
    """For normal and subnormal numbers of either sign, and at 0."""
    bits, least = GRIDS[dtype]
    values = torch.tensor(
        [1.0, -1.5, 1.99, 2.0, 2.0**least, 2.0 ** (least - 1), 0.0], dtype=torch.float64
    )
    expected = [2.0**-bits, 2.0**-bits, 2.0**-bits, 2.0 ** (1 - bits), *[2.0 ** (least - bits)] * 3]
    assert ulp(values, dtype).tolist() == expected


def test_rounding_at_random_is_unbiased_and_stays_on_the_grid() -> None:
    """A third of the way between two numbers of bfloat16, two draws in three are the lower one."""
    step = 2.0**-7
    values = torch.full((30_000,), 1 + step / 3, dtype=torch.float64)
    found = Noise("bfloat16", 0).at_random(values, torch.bfloat16)
    assert set(found.tolist()) == {1.0, 1.0 + step}
    assert float((found > 1).double().mean()) == pytest.approx(1 / 3, abs=0.02)
    assert torch.equal(found, found.bfloat16().double())


def test_equal_inputs_err_alike_where_ties_are_kept() -> None:
    """In whichever tensor they are; and independently where ties are broken."""
    x = torch.tensor([0.1, 0.3, 0.1, -0.3, 0.0, math.inf, math.nan])
    y = torch.cat([x.flip(0), x])[3:]
    for seed in range(5):
        noise = Noise("float32", seed, "kept")
        one, other = noise.jittered(x), noise.jittered(y)
        assert one[0] == one[2] == other[-7] == other[1]
        assert one[1] == other[2]
        assert 0 < abs(float(one[0] / x[0].double()) - 1) <= UNITS["float32"]
        assert one[4] == 0
        assert one[5] == math.inf
        assert bool(one[6].isnan())
    broken = Noise("bfloat16", 0, "broken").jittered(torch.ones(100, dtype=torch.bfloat16))
    assert len(broken.unique()) > 90
    zeros = Noise("float32", 0, "broken").jittered(torch.tensor([0.5] + 99 * [0.0]))[1:]
    assert len(zeros.unique()) > 90
    assert 0 < float(zeros.abs().max()) <= 0.5 * UNITS["float32"]


@pytest.mark.parametrize(
    ("function", "is_open"),
    [
        (torch.sort, True),
        (torch.argsort, True),
        (lambda x: torch.topk(x, 2), True),
        (lambda x: torch.sort(x, stable=True), False),
        (lambda x: torch.argsort(x, stable=True), False),
        (torch.argmax, False),
        (lambda x: x.max(0), False),
    ],
)
def test_operations_that_leave_ties_open_are_known(function: Any, is_open: bool) -> None:
    """Unless they are asked to be stable."""
    noise = Noise("float32", 0)
    with noise:
        function(torch.ones(5, dtype=torch.float64))
    assert noise.leaves_ties_open is is_open


def test_eigenvalues_may_err_as_sweeps_of_rotations_do() -> None:
    """Jacobi's method in float32 rounds every element once a column, in each of its sweeps."""
    a = torch.randn(24, 24, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    a = a + a.T
    right = torch.linalg.eigvalsh(a)
    off = []
    for seed in range(8):
        with Noise("float32", seed):
            drawn = torch.linalg.eigvalsh(a)
        off.append(float((drawn - right).norm() / right.norm()))
    assert 2 * UNITS["float32"] < max(off) < 40 * UNITS["float32"]
