"""Elementwise operators, sums and scans."""

from __future__ import annotations

import torch
from torch.nn import functional

from benchmarks.judging_corpus.case import (
    ALL,
    WIDE,
    Case,
    damaged,
    fill,
    fused,
    normals,
    scaled,
    times,
    uniforms,
)


def affine(x):
    return 2 * x + 1


def gelu(x):
    return 0.5 * x * (1 + torch.erf(x * 0.7071067811865476))


def tanh_gelu(x):
    return 0.5 * x * (1 + torch.tanh(0.7978845608028654 * (x + 0.044715 * x**3)))


def swiglu(x, y):
    return x * torch.sigmoid(x) * y


def softmax(x):
    shifted = torch.exp(x - x.amax(-1, keepdim=True))
    return shifted / shifted.sum(-1, keepdim=True)


def unstable_softmax(x):
    raised = torch.exp(x)
    return raised / raised.sum(-1, keepdim=True)


def half_softmax(x):
    """Without the maximum, in the inputs' own dtype."""
    return unstable_softmax(x)


def tail_forgotten_softmax(x):
    shifted = torch.exp(x - x.amax(-1, keepdim=True))
    return shifted / shifted[..., :-1].sum(-1, keepdim=True)


def logsumexp(x):
    top = x.amax(-1, keepdim=True)
    return (torch.log(torch.exp(x - top).sum(-1, keepdim=True)) + top).squeeze(-1)


def sequential_sum(x):
    total = torch.zeros(x.shape[0], dtype=x.dtype)
    for column in x.unbind(1):
        total = total + column
    return total


def pairwise_sum(x):
    while x.shape[1] > 1:
        half = x.shape[1] // 2
        x = torch.cat([x[:, :half] + x[:, half : 2 * half], x[:, 2 * half :]], 1)
    return x[:, 0]


def variance(x):
    return x.var(-1, correction=0)


def rope(x, angles):
    even, odd = x[..., ::2], x[..., 1::2]
    cosine, sine = torch.cos(angles), torch.sin(angles)
    return torch.stack([even * cosine - odd * sine, even * sine + odd * cosine], -1).flatten(-2)


def rope_other_sign(x, angles):
    return rope(x, -angles)


def masked_logsumexp(x):
    mask = torch.arange(x.shape[1]) > torch.arange(x.shape[0])[:, None] - 2
    return logsumexp_library(x.masked_fill(mask, float("-inf")))


def logsumexp_library(x):
    return torch.logsumexp(x, -1)


def masked_log_softmax(x):
    mask = torch.arange(x.shape[1]) > torch.arange(x.shape[0])[:, None]
    return torch.log_softmax(x.masked_fill(mask, float("-inf")), -1)


def masked_too_far(x):
    mask = torch.arange(x.shape[1]) > torch.arange(x.shape[0])[:, None] + 1
    return torch.log_softmax(x.masked_fill(mask, float("-inf")), -1)


def cross_entropy(x, labels):
    return torch.logsumexp(x, -1) - x.gather(-1, labels[:, None]).squeeze(-1)


def labelled(generator):
    logits = torch.randn(512, 1000, generator=generator, dtype=torch.float64)
    return logits, torch.randint(0, 1000, (512,), generator=generator)


def one_step_adam(p, g, m, v):
    m, v = 0.9 * m + 0.1 * g, 0.999 * v.square() + 0.001 * g * g
    return {"p": p * (1 - 1e-4) - 1e-2 * (m / 0.1) / (torch.sqrt(v / 0.001) + 1e-8), "m": m, "v": v}


def adam_without_decay(p, g, m, v):
    found = one_step_adam(p, g, m, v)
    return {**found, "p": found["p"] + p * 1e-4}


def adam_with_half_decay(p, g, m, v):
    found = one_step_adam(p, g, m, v)
    return {**found, "m": 0.9 * m + 0.05 * g}


CASES = (
    Case(
        "affine, 1,000,003 values",
        normals((1_000_003,)),
        affine,
        {"plain": affine, "fused": fused(affine)},
        {
            "last 3 not written": damaged(affine, fill(slice(-3, None))),
            "one value lost": damaged(affine, fill(777)),
            "factor 1.01": scaled(affine, 1.01),
        },
        dtypes=WIDE,
    ),
    Case(
        "affine, 4096 x 64",
        normals((4096, 64)),
        affine,
        {"plain": affine},
        {
            "one element 0": damaged(affine, fill((17, 3))),
            "one row times 0.55": damaged(affine, times(2000, 0.55)),
            "last column not written": damaged(affine, fill((slice(None), -1))),
            "rows shifted by one": damaged(affine, lambda out: out.copy_(out.roll(1, 0))),
        },
    ),
    Case(
        "gelu, 512 x 512",
        normals((512, 512)),
        gelu,
        {"library": functional.gelu, "plain": gelu, "fused": fused(gelu)},
        {"ReLU": torch.relu, "a quarter of a tile lost": damaged(gelu, fill((3, slice(64, 80))))},
        dtypes=("float64", *ALL),
    ),
    Case(
        "gelu by tanh, 512 x 512",
        normals((512, 512)),
        tanh_gelu,
        {"library": lambda x: functional.gelu(x, approximate="tanh"), "fused": fused(tanh_gelu)},
        {
            "by erf": functional.gelu,
            "cubic term lost": fused(lambda x: functional.silu(1.5957691 * x) / 1.5957691),
        },
        dtypes=("float64", "float32"),
    ),
    Case(
        "swiglu, 256 x 1000",
        normals((256, 1000), (256, 1000)),
        swiglu,
        {"library": lambda x, y: functional.silu(x) * y, "plain": swiglu, "fused": fused(swiglu)},
        {
            "gate and value swapped": fused(lambda x, y: swiglu(y, x)),
            "ReLU for SiLU": fused(lambda x, y: torch.relu(x) * y),
        },
    ),
    Case(
        "softmax, 64 x 1000",
        normals((64, 1000)),
        softmax,
        {"library": lambda x: torch.softmax(x, -1), "plain": softmax, "fused": fused(softmax)},
        {
            "last value out of the sum": fused(tail_forgotten_softmax),
            "one row twice": damaged(softmax, times(63, 2.0)),
            "zeros": torch.zeros_like,
            "over the other axis": lambda x: torch.softmax(x, 0),
            "two rows swapped": damaged(softmax, lambda out: out[:2].copy_(out[:2].flip(0))),
        },
        dtypes=("float64", *ALL),
    ),
    Case(
        "softmax, 4 x 131200",
        normals((4, 131200)),
        softmax,
        {"library": lambda x: torch.softmax(x, -1), "fused": fused(softmax)},
        {
            "last value not written": damaged(softmax, fill((slice(None), -1))),
            "last tile out of the sum": fused(
                lambda x: (
                    softmax(x)
                    * (
                        1
                        + torch.exp(x[:, -128:]).sum(-1, keepdim=True)
                        / torch.exp(x).sum(-1, keepdim=True)
                    )
                )
            ),
            "zeros": torch.zeros_like,
        },
    ),
    Case(
        "softmax without the maximum",
        normals((64, 256)),
        softmax,
        {"with it": fused(softmax)},
        {"in float32": unstable_softmax, "in its own dtype": half_softmax},
        dtypes=("float32",),
    ),
    Case(
        "logsumexp, 128 x 1000",
        normals((128, 1000)),
        logsumexp,
        {"library": logsumexp_library, "fused": fused(logsumexp)},
        {
            "factor 1.01": scaled(logsumexp, 1.01),
            "one row of its neighbour": damaged(logsumexp, lambda out: out[5:6].copy_(out[6:7])),
        },
    ),
    Case(
        "masked logsumexp, -inf",
        normals((64, 64)),
        masked_logsumexp,
        {"library": masked_logsumexp},
        {
            "finite where -inf": damaged(masked_logsumexp, fill(0, -1e4)),
            "NaN where -inf": damaged(masked_logsumexp, fill(1, float("nan"))),
        },
    ),
    Case(
        "masked log_softmax, -inf",
        normals((128, 128)),
        masked_log_softmax,
        {"library": masked_log_softmax},
        {"mask off by one": masked_too_far},
    ),
    Case(
        "sum, 64 x 4096",
        normals((64, 4096)),
        lambda x: x.sum(-1),
        {
            "library": lambda x: x.sum(-1),
            "sequential": fused(sequential_sum),
            "pairwise": fused(pairwise_sum),
        },
        {
            "last not added": fused(lambda x: x[:, :-1].sum(-1)),
            "first added twice": fused(lambda x: x.sum(-1) + x[:, 0]),
            "one tile not added": fused(lambda x: x[:, 128:].sum(-1)),
        },
        dtypes=WIDE[:2],
    ),
    Case(
        "mean of positive, 16 x 16384",
        uniforms((16, 16384)),
        lambda x: x.mean(-1),
        {
            "library": lambda x: x.mean(-1),
            "pairwise": fused(lambda x: pairwise_sum(x) / x.shape[1]),
        },
        {
            "factor 1.01": scaled(lambda x: x.mean(-1), 1.01),
            "over n - 64": fused(lambda x: x.sum(-1) / (x.shape[1] - 640)),
        },
    ),
    Case(
        "variance, 128 x 512",
        normals((128, 512)),
        variance,
        {
            "library": variance,
            "two passes": fused(lambda x: (x - x.mean(-1, keepdim=True)).square().mean(-1)),
        },
        {"Bessel": lambda x: x.var(-1), "not centred": lambda x: x.square().mean(-1)},
        dtypes=("float64", "float32"),
    ),
    Case(
        "cumsum, 32 x 4096",
        normals((32, 4096)),
        lambda x: x.cumsum(-1),
        {
            "library": lambda x: x.cumsum(-1),
            "by blocks": fused(
                lambda x: (
                    x.reshape(32, 64, 64).cumsum(-1)
                    + torch.nn.functional.pad(
                        x.reshape(32, 64, 64).sum(-1).cumsum(-1)[:, :-1], (1, 0)
                    )[..., None]
                ).reshape(32, 4096)
            ),
        },
        {
            "exclusive": fused(lambda x: x.cumsum(-1) - x),
            "carry of one block lost": fused(
                lambda x: torch.cat([x[:, :2048].cumsum(-1), x[:, 2048:].cumsum(-1)], -1)
            ),
        },
        dtypes=("float64", "float32"),
    ),
    Case(
        "rope, 4 x 128 x 64",
        lambda generator: (
            torch.randn(4, 128, 64, generator=generator, dtype=torch.float64),
            torch.arange(128, dtype=torch.float64)[:, None]
            / 10000 ** (torch.arange(32, dtype=torch.float64) / 32),
        ),
        rope,
        {"plain": rope, "fused": fused(rope)},
        {
            "other sign": fused(rope_other_sign),
            "positions from 1": fused(lambda x, a: rope(x, a.roll(-1, 0))),
        },
        dtypes=("float64", "float32"),
    ),
    Case(
        "cross entropy, 512 x 1000",
        labelled,
        cross_entropy,
        {
            "library": lambda x, y: functional.cross_entropy(x, y, reduction="none"),
            "fused": fused(cross_entropy),
        },
        {
            "one row of its neighbour": damaged(
                cross_entropy, lambda out: out[5:6].copy_(out[6:7])
            ),
            "labels shifted": fused(lambda x, y: cross_entropy(x, (y + 1) % 1000)),
        },
    ),
    Case(
        "Adam, 1 step of 4096",
        normals((4096,), (4096,), (4096,), (4096,)),
        one_step_adam,
        {"plain": one_step_adam, "fused": fused(one_step_adam)},
        {
            "no weight decay": fused(adam_without_decay),
            "momentum halved": fused(adam_with_half_decay),
        },
        dtypes=("float64", "float32"),
    ),
)
