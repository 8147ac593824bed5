"""Products, convolutions, attention, transforms and linear algebra."""

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


def attention(q, k, v, causal=False):
    scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
    if causal:
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        scores = scores.masked_fill(mask, float("-inf"))
    return torch.softmax(scores, -1) @ v


def causal(q, k, v):
    return attention(q, k, v, causal=True)


def causal_off_by_one(q, k, v):
    scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
    mask = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(2)
    return torch.softmax(scores.masked_fill(mask, float("-inf")), -1) @ v


def flash(q, k, v, block=64):
    """Online softmax over blocks of keys, in float32."""
    q, k, v = (t.float() if t.dtype is not torch.float64 else t for t in (q, k, v))
    top = torch.full((*q.shape[:-1], 1), float("-inf"), dtype=q.dtype)
    total, out = torch.zeros_like(top), torch.zeros_like(q)
    for keys, values in zip(k.split(block, -2), v.split(block, -2), strict=True):
        scores = q @ keys.transpose(-1, -2) * q.shape[-1] ** -0.5
        new = torch.maximum(top, scores.amax(-1, keepdim=True))
        weights, shrink = torch.exp(scores - new), torch.exp(top - new)
        total, out = total * shrink + weights.sum(-1, keepdim=True), out * shrink + weights @ values
        top = new
    return out / total


def rounded_flash(q, k, v):
    return flash(q, k, v).to(q.dtype)


def clipped(q, k, v):
    scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
    return torch.softmax(scores.clamp(-8, 8), -1) @ v


def no_maximum(q, k, v):
    weights = torch.exp(q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5)
    return weights / weights.sum(-1, keepdim=True) @ v


def wrong_scale(q, k, v):
    return attention(q * 1.02, k, v)


def row_misses(lost):
    def call(q, k, v):
        out = attention(q, k, v)
        out[..., -1:, :] = attention(q[..., -1:, :], k[..., :-lost, :], v[..., :-lost, :])
        return out

    return fused(call)


def all_miss_the_last(q, k, v):
    return attention(q, k[..., :-1, :], v[..., :-1, :])


def with_gradients(function):
    """Output and gradients, with an upstream gradient as the last input."""

    def call(*inputs):
        *leaves, upstream = inputs
        leaves = [leaf.detach().requires_grad_() for leaf in leaves]
        with torch.enable_grad():
            out = function(*leaves)
            grads = torch.autograd.grad(out, leaves, upstream)
        names = ("q", "k", "v", "w")
        return {
            "output": out.detach(),
            **{f"grad_{name}": grad for name, grad in zip(names, grads, strict=False)},
        }

    return call


def flash_backward(q, k, v, upstream):
    """D from the rounded output, probabilities recomputed: as flash attention does."""
    dtype = q.dtype
    out = fused(causal)(q, k, v)
    wide = [t.float() if dtype is not torch.float64 else t for t in (q, k, v, upstream, out)]
    q, k, v, do, o = wide
    scale = q.shape[-1] ** -0.5
    scores = q @ k.transpose(-1, -2) * scale
    mask = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
    p = torch.softmax(scores.masked_fill(mask, float("-inf")), -1)
    half = p.to(dtype).to(p.dtype)
    dv = half.transpose(-1, -2) @ do
    dp = do @ v.transpose(-1, -2)
    ds = (p * (dp - (do * o).sum(-1, keepdim=True))).to(dtype).to(p.dtype)
    dq, dk = ds @ k * scale, ds.transpose(-1, -2) @ q * scale
    return {"output": out, "grad_q": dq.to(dtype), "grad_k": dk.to(dtype), "grad_v": dv.to(dtype)}


def spoiled(function, name, change):
    def call(*inputs):
        found = dict(function(*inputs))
        found[name] = found[name].clone()
        change(found[name])
        return found

    return call


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


SDPA = functional.scaled_dot_product_attention
QKV = ((2, 2, 128, 32),) * 3
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
        "attention, 2 x 2 x 128 x 32",
        normals(*QKV),
        attention,
        {"library": SDPA, "plain": attention, "fused": fused(attention), "flash": rounded_flash},
        {
            "last key left out": fused(all_miss_the_last),
            "one row misses 16 keys": row_misses(16),
            "one row times 0.6": damaged(attention, times((0, 0, 5), 0.6)),
            "one row times 0.82": damaged(attention, times((0, 0, 5), 0.82)),
            "one head of its neighbour": damaged(attention, lambda out: out[0, 1].copy_(out[0, 0])),
            "scores clipped at 8": fused(clipped),
            "no maximum": fused(no_maximum),
            "scale 2 % off": fused(wrong_scale),
            "mean of the values": fused(lambda q, k, v: v.mean(-2, keepdim=True).expand_as(q)),
        },
        dtypes=("float64", *ALL),
    ),
    Case(
        "attention, 1 x 1 x 16 queries, 4096 keys",
        normals((1, 1, 16, 64), (1, 1, 4096, 64), (1, 1, 4096, 64)),
        attention,
        {"library": SDPA, "fused": fused(attention), "flash": rounded_flash},
        {"last key left out": fused(all_miss_the_last), "one row misses 512 keys": row_misses(512)},
        dtypes=("float16", "bfloat16"),
    ),
    Case(
        "causal attention, 2 x 2 x 128 x 32",
        normals(*QKV),
        causal,
        {"library": lambda q, k, v: SDPA(q, k, v, is_causal=True), "fused": fused(causal)},
        {"mask off by one": fused(causal_off_by_one), "not causal": fused(attention)},
        dtypes=ALL,
    ),
    Case(
        "causal attention with gradients, head 80",
        normals(*(((1, 2, 96, 80),) * 4)),
        with_gradients(causal),
        {
            "library": with_gradients(lambda q, k, v: SDPA(q, k, v, is_causal=True)),
            "plain": with_gradients(causal),
            "flash": flash_backward,
        },
        {
            "grad_k of one row lost": spoiled(flash_backward, "grad_k", fill((0, 0, 7))),
            "grad_q times 1.05": spoiled(flash_backward, "grad_q", lambda out: out.mul_(1.05)),
            "grad_v of another head": spoiled(
                flash_backward, "grad_v", lambda out: out.copy_(out.flip(1))
            ),
            "ones": spoiled(flash_backward, "grad_q", lambda out: out.fill_(5)),
        },
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
