"""Attention, forward and backward."""

from __future__ import annotations

import torch
from torch.nn import functional

from benchmarks.judging_corpus.case import ALL, Case, damaged, fill, fused, normals, times


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


SDPA = functional.scaled_dot_product_attention


QKV = ((2, 2, 128, 32),) * 3


CASES = (
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
)
