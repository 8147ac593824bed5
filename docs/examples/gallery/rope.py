"""Rotary position embedding of queries and keys, in place: nothing is returned, q and k are
changed.
"""

import torch

writes = ("q", "k")
# turned again and again, the numbers would stay finite; but then each call would time another
# problem
restore = True
columns = {"tokens": "Tokens", "heads": "Heads"}


def inputs(tokens: int, heads: int = 8, head_dim: int = 64, dtype: torch.dtype = torch.float32):
    q = torch.randn(tokens, heads, head_dim, dtype=dtype)
    k = torch.randn(tokens, heads // 2, head_dim, dtype=dtype)
    angles = torch.arange(tokens)[:, None] * 10000.0 ** (-torch.arange(0, head_dim, 2) / head_dim)
    return q, k, torch.cos(angles).to(dtype), torch.sin(angles).to(dtype)


def reference(q, k, cos, sin):
    for x in (q, k):
        first, second = x.chunk(2, dim=-1)
        turned = (
            first * cos[:, None] - second * sin[:, None],
            second * cos[:, None] + first * sin[:, None],
        )
        x.copy_(torch.cat(turned, dim=-1))


def chunked(q, k, cos, sin):
    reference(q, k, cos, sin)


def complex_product(q, k, cos, sin):
    """The pairs as complex numbers, turned by one product."""
    turn = torch.complex(cos.float(), sin.float())[:, None]
    for x in (q, k):
        first, second = x.float().chunk(2, dim=-1)
        turned = torch.complex(first, second) * turn
        x.copy_(torch.cat([turned.real, turned.imag], dim=-1))


def neighbours(q, k, cos, sin):
    """Wrong for this layout: it pairs each value with its neighbour, not with the one half a head
    away.
    """
    for x in (q, k):
        first, second = x[..., ::2].clone(), x[..., 1::2].clone()
        x[..., ::2] = first * cos[:, None] - second * sin[:, None]
        x[..., 1::2] = second * cos[:, None] + first * sin[:, None]
