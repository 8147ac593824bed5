"""Integers, bools, 8-bit floats, selection and quantisation."""

from __future__ import annotations

import torch

from benchmarks.judging_corpus.case import Case, normals


def integers(low, high, *shapes):
    return lambda generator: tuple(
        torch.randint(low, high, shape, generator=generator) for shape in shapes
    )


def one_more(function, place):
    def call(*inputs):
        out = function(*inputs).clone()
        out[place] += 1
        return out

    return call


def quantised(x):
    """int8 with a scale per row."""
    scale = x.abs().amax(-1, keepdim=True) / 127
    return torch.round(x / scale).to(torch.int8)


def quantised_fast(x):
    inverse = 127 / x.abs().amax(-1, keepdim=True)
    return torch.round(x * inverse).to(torch.int8)


def truncated(x):
    return torch.trunc(x / (x.abs().amax(-1, keepdim=True) / 127)).to(torch.int8)


def clipped(x):
    return quantised(x).clamp(-126, 126)


def to_fp8(x):
    return x.to(torch.float8_e4m3fn)


def as_fp8(x):
    return x.double()


def histogram(x):
    return torch.bincount(x, minlength=256)


def swapped(x):
    out = torch.argsort(x, dim=-1, stable=True)
    out[:, [4, 5]] = out[:, [5, 4]]
    return out


def fp8_pairs(generator):
    return tuple(
        torch.randn(shape, generator=generator).to(torch.float8_e4m3fn)
        for shape in ((64, 256), (256, 64))
    )


def fp8_product(a, b):
    return (a.to(torch.float32) @ b.to(torch.float32)).to(torch.bfloat16)


CASES = (
    Case(
        "int64 cumsum of 65536",
        integers(-1000, 1000, (65536,)),
        lambda x: x.cumsum(-1),
        {"library": lambda x: x.cumsum(-1)},
        {
            "last 1000 off by one": one_more(lambda x: x.cumsum(-1), slice(-1000, None)),
            "exclusive": lambda x: x.cumsum(-1) - x,
        },
        dtypes=("float32",),
    ),
    Case(
        "int64 beyond 2^53",
        integers(2**54, 2**60, (64, 64)),
        lambda x: x * 3 + 1,
        {"library": lambda x: x * 3 + 1},
        {"one off by one": one_more(lambda x: x * 3 + 1, (3, 4))},
        dtypes=("float32",),
    ),
    Case(
        "int8 product to int32",
        lambda generator: tuple(
            torch.randint(-127, 128, shape, generator=generator, dtype=torch.int8)
            for shape in ((64, 256), (256, 64))
        ),
        lambda a, b: (a.double() @ b.double()).to(torch.int32),
        {"library": lambda a, b: a.int() @ b.int()},
        {
            "all off by one": lambda a, b: a.int() @ b.int() + 1,
            "one off by one": one_more(lambda a, b: a.int() @ b.int(), (5, 5)),
        },
        dtypes=("float32",),
    ),
    Case(
        "histogram of 100000",
        integers(0, 256, (100_000,)),
        histogram,
        {"library": histogram},
        {"three not counted": lambda x: histogram(x[:-3])},
        dtypes=("float32",),
    ),
    Case(
        "argmax, 512 x 1000",
        normals((512, 1000)),
        lambda x: x.argmax(-1),
        {"library": lambda x: x.argmax(-1)},
        {"one row wrong": one_more(lambda x: x.argmax(-1), 100), "argmin": lambda x: x.argmin(-1)},
        dtypes=("float64", "float32"),
    ),
    Case(
        "stable argsort, 64 x 1000",
        normals((64, 1000)),
        lambda x: torch.argsort(x, dim=-1, stable=True),
        {"library": lambda x: torch.argsort(x, dim=-1, stable=True)},
        {"two neighbours swapped": swapped},
        dtypes=("float64", "float32"),
    ),
    Case(
        "sort, 64 x 1000",
        normals((64, 1000)),
        lambda x: x.sort(-1).values,
        {"library": lambda x: x.sort(-1).values},
        {
            "one lost, its neighbour twice": lambda x: _doubled(x.sort(-1).values),
            "descending": lambda x: x.sort(-1, descending=True).values,
        },
    ),
    Case(
        "top 8 of 1000, values",
        normals((64, 1000)),
        lambda x: x.topk(8, -1).values,
        {
            "library": lambda x: x.topk(8, -1).values,
            "by sort": lambda x: x.sort(-1, descending=True).values[:, :8],
        },
        {
            "second to ninth": lambda x: x.topk(9, -1).values[:, 1:],
            "last of them the ninth": lambda x: x.topk(9, -1).values[:, [0, 1, 2, 3, 4, 5, 6, 8]],
        },
    ),
    Case(
        "embedding, 100 x 64",
        lambda generator: (
            torch.randint(0, 100, (512,), generator=generator),
            torch.randn(100, 64, generator=generator, dtype=torch.float64),
        ),
        lambda ids, table: table[ids],
        {"library": lambda ids, table: torch.nn.functional.embedding(ids, table)},
        {"one row of the next id": lambda ids, table: _row(table[ids], table, ids)},
    ),
    Case(
        "scatter add, 4096 into 64 x 32",
        lambda generator: (
            torch.randint(0, 64, (4096,), generator=generator),
            torch.randn(4096, 32, generator=generator, dtype=torch.float64),
        ),
        lambda ids, x: torch.zeros(64, 32, dtype=x.dtype).index_add(0, ids, x),
        {
            "library": lambda ids, x: torch.zeros(64, 32, dtype=x.dtype).index_add(0, ids, x),
            "by one-hot": lambda ids, x: torch.nn.functional.one_hot(ids, 64).to(x.dtype).T @ x,
        },
        {
            "an update lost": lambda ids, x: torch.zeros(64, 32, dtype=x.dtype).index_add(
                0, ids[:-1], x[:-1]
            )
        },
        dtypes=("float64", "float32"),
    ),
    Case(
        "bool mask, 256 x 256",
        normals((256, 256)),
        lambda x: x > 0.5,
        {"library": lambda x: x > 0.5},
        {"one bit": lambda x: _flipped(x > 0.5)},
    ),
    Case(
        "quantise to int8, 64 x 512",
        normals((64, 512)),
        quantised,
        {"by division": quantised, "by the inverse": quantised_fast},
        {
            "truncated": truncated,
            "clipped at 126": clipped,
            "one off by one": one_more(quantised, (3, 3)),
        },
        dtypes=("float32",),
    ),
    Case(
        "cast to fp8, 64 x 256",
        normals((64, 256)),
        as_fp8,
        {"library": to_fp8},
        {
            "twice": lambda x: (2 * x).to(torch.float8_e4m3fn),
            "one row 0": lambda x: _zeroed(to_fp8(x)),
            "factor 1.05": lambda x: (1.05 * x).to(torch.float8_e4m3fn),
        },
        dtypes=("float32", "bfloat16"),
    ),
    Case(
        "fp8 product to bfloat16",
        fp8_pairs,
        lambda a, b: a.float().double() @ b.float().double(),
        {"library": fp8_product},
        {
            "one column 0": lambda a, b: _column(fp8_product(a, b)),
            "a tile of K left out": lambda a, b: fp8_product(a[:, :-16], b[:-16]),
        },
        dtypes=("bfloat16",),
    ),
)


def _doubled(values):
    values[7, 500] = values[7, 501]
    return values


def _row(out, table, ids):
    out = out.clone()
    out[100] = table[(ids[100] + 1) % 100]
    return out


def _flipped(mask):
    mask[17, 5] = ~mask[17, 5]
    return mask


def _zeroed(values):
    values.view(torch.uint8)[9] = 0
    return values


def _column(values):
    values[:, 3] = 0
    return values
