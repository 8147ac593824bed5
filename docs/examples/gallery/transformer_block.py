"""A block of a causal transformer, forward and backward: attention, then a gated MLP, each after
RMSNorm and beside what came in.
"""

import math

import torch
from torch.nn import functional

EPSILON = 1e-6

backward = True
columns = {"tokens": "Tokens", "width": "Width", "heads": "Heads"}


def inputs(tokens: int, width: int = 256, heads: int = 4, dtype: torch.dtype = torch.float32):
    hidden = 2 * width
    x = torch.randn(tokens, width, dtype=dtype)
    qkv = torch.randn(3 * width, width, dtype=dtype) / math.sqrt(width)
    out = torch.randn(width, width, dtype=dtype) / math.sqrt(width)
    up = torch.randn(2 * hidden, width, dtype=dtype) / math.sqrt(width)
    down = torch.randn(width, hidden, dtype=dtype) / math.sqrt(hidden)
    return x, qkv, out, up, down, heads


def reference(x, qkv, out, up, down, heads):
    return by_hand(x, qkv, out, up, down, heads)


def work(tokens, width):
    products = 2 * tokens * width * width * (3 + 1 + 4 + 2)
    attention = 2 * tokens * tokens * width  # the half that is not masked, two products
    return {"flops": 3 * (products + attention), "bytes": 0, "tokens": tokens}


def _normed(x):
    return x * torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + EPSILON)


def _split(x, qkv, heads):
    """Queries, keys and values: (heads, tokens, width of a head) each."""
    parts = (_normed(x) @ qkv.mT).chunk(3, dim=-1)
    return [part.unflatten(-1, (heads, -1)).transpose(0, 1) for part in parts]


def _beside(x, attended, out, up, down):
    """What came in, with the attention's result and then the MLP's added."""
    x = x + attended.transpose(0, 1).flatten(1) @ out.mT
    gate, value = (_normed(x) @ up.mT).chunk(2, dim=-1)
    return x + (functional.silu(gate) * value) @ down.mT


def by_hand(x, qkv, out, up, down, heads):
    """Scores, mask and softmax one by one."""
    q, k, v = _split(x, qkv, heads)
    scores = q @ k.mT / math.sqrt(q.shape[-1])
    later = torch.ones(len(x), len(x), dtype=torch.bool, device=x.device).triu(1)
    weights = scores.masked_fill(later, -math.inf).softmax(dim=-1)
    return _beside(x, weights @ v, out, up, down)


def fused(x, qkv, out, up, down, heads):
    """Attention by torch's own kernel."""
    q, k, v = (part[None] for part in _split(x, qkv, heads))
    attended = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    return _beside(x, attended[0], out, up, down)


def sees_the_next(x, qkv, out, up, down, heads):
    """Wrong: the mask begins one place too late, so that every token sees the next."""
    q, k, v = _split(x, qkv, heads)
    scores = q @ k.mT / math.sqrt(q.shape[-1])
    later = torch.ones(len(x), len(x), dtype=torch.bool, device=x.device).triu(2)
    weights = scores.masked_fill(later, -math.inf).softmax(dim=-1)
    return _beside(x, weights @ v, out, up, down)
