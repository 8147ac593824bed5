"""Mixture of experts: each token goes to two of the experts, whose groups are uneven and may be
empty.
"""

import torch

columns = {"tokens": "Tokens", "experts": "Experts"}


def inputs(
    tokens: int,
    experts: int = 8,
    width: int = 64,
    hidden: int = 128,
    dtype: torch.dtype = torch.float32,
):
    x = torch.randn(tokens, width, dtype=dtype)
    weight = torch.randn(experts, width, hidden, dtype=dtype) / width**0.5
    gates = torch.softmax(torch.randn(tokens, 2), dim=-1).to(dtype)
    # The first experts are chosen more often, and the last one never
    chance = 1.0 / torch.arange(1, experts).float()
    chosen = torch.multinomial(chance.expand(tokens, -1), 2)
    return x, weight, gates, chosen


def reference(x, weight, gates, chosen):
    every = torch.einsum("tw,ewh->teh", x, weight)
    picked = every[torch.arange(len(x))[:, None], chosen]
    return (picked * gates[..., None]).sum(dim=1)


def work(tokens, width, hidden, experts, dtype):
    moved = tokens * (width + hidden) + experts * width * hidden
    return {"flops": 4 * tokens * width * hidden, "bytes": moved * dtype.itemsize, "tokens": tokens}


def by_expert(x, weight, gates, chosen):
    out = torch.zeros(len(x), weight.shape[2], dtype=x.dtype, device=x.device)
    for expert in range(len(weight)):
        token, slot = torch.where(chosen == expert)
        out.index_add_(0, token, x[token] @ weight[expert] * gates[token, slot, None])
    return out


def _grouped(x, weight, gates, chosen, shift):
    """Tokens sorted by expert, one product for each run of them."""
    flat = chosen.flatten()
    order = torch.argsort(flat, stable=True)
    ends = torch.bincount(flat, minlength=len(weight)).cumsum(0).tolist()
    token, start = order // 2, 0
    rows = torch.empty(len(order), weight.shape[2], dtype=x.dtype, device=x.device)
    for expert, end in enumerate(ends):
        end = min(end + shift, len(order))
        rows[start:end] = x[token[start:end]] @ weight[expert]
        start = max(start, end)
    rows *= gates.flatten()[order, None]
    return torch.zeros(len(x), weight.shape[2], dtype=x.dtype, device=x.device).index_add_(
        0, token, rows
    )


def grouped(x, weight, gates, chosen):
    return _grouped(x, weight, gates, chosen, 0)


def boundary_off_by_one(x, weight, gates, chosen):
    """Wrong: one token at each boundary is given to the expert before."""
    return _grouped(x, weight, gates, chosen, 1)
