"""Products, convolutions, transforms and linear algebra."""

from __future__ import annotations

import torch
from torch.nn import functional

from benchmarks.judging_corpus.case import (
    ALL,
    Case,
    damaged,
    fill,
    fused,
    normals,
    scaled,
    times,
    uniforms,
)


def product(a, b):
    return a @ b


def split_product(a, b, parts=8):
    """Partial products over K, added up."""
    total = None
    for left, right in zip(a.chunk(parts, -1), b.chunk(parts, 0), strict=True):
        total = left @ right if total is None else total + left @ right
    return total


def sequential_product(a, b):
    total = torch.zeros(a.shape[0], b.shape[1], dtype=a.dtype)
    for k in range(a.shape[1]):
        total = torch.addcmul(total, a[:, k : k + 1], b[k : k + 1])
    return total


def tf32(values):
    """Rounded to the ten bits that tensor cores keep."""
    return ((values.view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)


def truncated(values):
    return (values.view(torch.int32) & ~0x1FFF).view(torch.float32)


def tf32_product(a, b):
    return tf32(a) @ tf32(b)


def truncated_product(a, b):
    return truncated(a) @ truncated(b)


def half_accumulated(a, b):
    """The sum kept in the inputs' own dtype."""
    total = torch.zeros(a.shape[0], b.shape[1], dtype=a.dtype)
    for left, right in zip(a.split(16, 1), b.split(16, 0), strict=True):
        total = total + left @ right
    return total


def short_product(lost):
    return fused(lambda a, b: a[:, :-lost] @ b[:-lost])


def convolution(x, w):
    return functional.conv2d(x, w, padding=1)


def convolution_by_unfold(x, w):
    columns = functional.unfold(x, w.shape[-2:], padding=1)
    return (w.flatten(1) @ columns).view(x.shape[0], w.shape[0], *x.shape[2:])


def spd(generator):
    root = torch.randn(48, 48, generator=generator, dtype=torch.float64)
    return (
        root @ root.T + 48 * torch.eye(48, dtype=torch.float64),
        torch.randn(48, 8, generator=generator, dtype=torch.float64),
    )


def complexes(*shape):
    return lambda generator: (torch.randn(*shape, generator=generator, dtype=torch.complex128),)


def imaginary_lost(x):
    out = torch.fft.fft(x)
    return torch.complex(out.real, torch.zeros_like(out.real))


def heat(x):
    for _ in range(20):
        x = x + 0.1 * (x.roll(1, -1) - 2 * x + x.roll(-1, -1))
    return x


MATMUL_WRONG = {
    "last K left out": short_product(1),
    "a tile of K left out": short_product(32),
    "one row times 0.75": damaged(product, times(9, 0.75)),
    "last column not written": damaged(product, fill((slice(None), -1))),
    "one element 0": damaged(product, fill((3, 5))),
    "factor 1.002": scaled(product, 1.002),
    "a and b's tiles swapped": damaged(
        product, lambda out: out[:, :32].copy_(out[:, 32:64].clone())
    ),
}


CASES = (
    Case(
        "matmul, 64 x 512 x 128",
        normals((64, 512), (512, 128)),
        product,
        {
            "library": product,
            "split K": fused(split_product),
            "sequential": fused(sequential_product),
        },
        MATMUL_WRONG,
        dtypes=("float64", *ALL),
    ),
    Case(
        "matmul in tf32, 64 x 512 x 128",
        normals((64, 512), (512, 128)),
        product,
        {"rounded": tf32_product, "truncated": truncated_product, "float32": product},
        {
            name: MATMUL_WRONG[name]
            for name in ("last K left out", "one element 0", "one row times 0.75")
        }
        | {"in bfloat16": lambda a, b: (a.bfloat16() @ b.bfloat16()).float()},
        dtypes=("tf32",),
    ),
    Case(
        "matmul in float32 asked, less used",
        normals((64, 512), (512, 64)),
        product,
        {"library": product},
        {
            "tf32": tf32_product,
            "float16": lambda a, b: (a.half() @ b.half()).float(),
            "bfloat16": lambda a, b: (a.bfloat16() @ b.bfloat16()).float(),
        },
        dtypes=("float32",),
    ),
    Case(
        "matmul, K 16384",
        normals((16, 16384), (16384, 16)),
        product,
        {
            "library": product,
            "sequential": fused(sequential_product),
            "split K": fused(split_product),
        },
        {
            "a tile of K left out": short_product(64),
            "accumulated in its own dtype": half_accumulated,
            "factor 1.01": scaled(product, 1.01),
        },
        dtypes=("float16", "bfloat16"),
    ),
    Case(
        "matmul of positive, K 4096",
        uniforms((32, 4096), (4096, 32)),
        product,
        {"library": product, "split K": fused(split_product)},
        {
            "a constant": fused(lambda a, b: torch.full((32, 32), 1024.0)),
            "of the means": fused(lambda a, b: a.sum(1, keepdim=True) * b.mean(0, keepdim=True)),
        },
    ),
    Case(
        "batched matmul, 16 x 32 x 48 x 40",
        normals((16, 32, 48), (16, 48, 40)),
        torch.bmm,
        {"library": torch.bmm, "einsum": lambda a, b: torch.einsum("bij,bjk->bik", a, b)},
        {
            "one batch of its neighbour": damaged(torch.bmm, lambda out: out[3].copy_(out[4])),
            "batches reversed": fused(lambda a, b: torch.bmm(a, b.flip(0))),
        },
    ),
    Case(
        "dot, 50000",
        normals((50000,), (50000,)),
        lambda a, b: (a * b).sum(),
        {"library": torch.dot, "pairwise": fused(lambda a, b: (a * b).view(-1, 50).sum(-1).sum())},
        {
            "factor 1.1": fused(lambda a, b: torch.dot(a, b) * 1.1),
            "half of it": fused(lambda a, b: torch.dot(a[:25000], b[:25000])),
        },
        dtypes=("float32",),
    ),
    Case(
        "convolution, 4 x 16 x 24 x 24",
        normals((4, 16, 24, 24), (24, 16, 3, 3)),
        convolution,
        {
            "library": convolution,
            "unfold": fused(convolution_by_unfold),
            "channels last": lambda x, w: convolution(x.to(memory_format=torch.channels_last), w),
        },
        {
            "one corner pixel": damaged(convolution, fill((0, 0, 0, 0))),
            "weights flipped": fused(lambda x, w: convolution(x, w.flip(-1))),
            "border of zeros": damaged(
                convolution, fill((slice(None), slice(None), slice(None), -1))
            ),
        },
    ),
    Case(
        "solve, 48 x 48",
        spd,
        lambda a, b: torch.linalg.solve(a, b),
        {
            "LU": torch.linalg.solve,
            "Cholesky": lambda a, b: torch.cholesky_solve(b, torch.linalg.cholesky(a)),
            "inverse": lambda a, b: torch.linalg.inv(a) @ b,
        },
        {
            "diagonal alone": lambda a, b: b / a.diagonal()[:, None],
            "factor 1.002": lambda a, b: torch.linalg.solve(a, b) * 1.002,
        },
        dtypes=("float64", "float32"),
    ),
    Case(
        "FFT, 16 x 1024, complex64",
        complexes(16, 1024),
        lambda x: torch.fft.fft(x),
        {"library": lambda x: torch.fft.fft(x), "two halves": lambda x: _radix_two(x)},
        {
            "conjugate": lambda x: torch.fft.fft(x).conj().resolve_conj(),
            "imaginary part 0": imaginary_lost,
            "inverse": lambda x: torch.fft.ifft(x, norm="forward"),
            "last frequency 0": lambda x: torch.cat(
                [torch.fft.fft(x)[:, :-1], x.new_zeros(16, 1)], -1
            ),
        },
        dtypes=("float32",),
    ),
    Case(
        "heat stencil, 64 x 512",
        normals((64, 512)),
        heat,
        {"plain": heat},
        {
            "last column not updated": lambda x: torch.cat([heat(x)[:, :-1], x[:, -1:]], -1),
            "a step left out": lambda x: _heat_19(x),
        },
        dtypes=("float64", "float32"),
    ),
)


def _heat_19(x):
    for _ in range(19):
        x = x + 0.1 * (x.roll(1, -1) - 2 * x + x.roll(-1, -1))
    return x


def _radix_two(x):
    even, odd = torch.fft.fft(x[..., ::2]), torch.fft.fft(x[..., 1::2])
    n = x.shape[-1]
    angle = -2 * torch.pi * torch.arange(n // 2, dtype=torch.float64) / n
    turned = odd * torch.polar(torch.ones_like(angle), angle).to(x.dtype)
    return torch.cat([even + turned, even - turned], -1)
