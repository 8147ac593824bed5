"""Attention as a user would write it, one segment at rate 1, and ways to get it wrong."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn.functional import scaled_dot_product_attention

from orchestrator.workload import Config

Attention = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def honest(config: Config) -> Attention:
    def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        heads_first = (tensor.transpose(1, 2) for tensor in (q, k, v))
        return scaled_dot_product_attention(*heads_first, is_causal=config.causal).transpose(1, 2)

    return attention


def sees_the_future(config: Config) -> Attention:
    def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return scaled_dot_product_attention(
            *(tensor.transpose(1, 2) for tensor in (q, k, v))
        ).transpose(1, 2)

    return attention


def forgets_the_transpose(config: Config) -> Attention:
    return lambda q, k, v: scaled_dot_product_attention(q, k, v)


def leaves_out_the_last_head(config: Config) -> Attention:
    right = honest(config)

    def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        out = torch.empty_like(q)
        out[:, :, :-1] = right(q, k, v)[:, :, :-1]
        return out

    return attention


def averages_the_values(config: Config) -> Attention:
    """What passes where inputs are so small that every softmax is flat."""
    return lambda q, k, v: v.mean(1, keepdim=True).expand_as(q).contiguous()


def gradient_cut_off_at_the_keys(config: Config) -> Attention:
    right = honest(config)
    return lambda q, k, v: right(q, k.detach() + 0 * k, v)


def remembers_its_gradients(config: Config) -> Attention:
    """Right and slow backward, but only for values that it has not met."""
    found: dict[tuple[float, ...], tuple[torch.Tensor, ...]] = {}

    class Remembering(torch.autograd.Function):
        @staticmethod
        def forward(ctx, q, k, v):
            ctx.save_for_backward(q, k, v)
            with torch.no_grad():
                return honest(config)(q, k, v)

        @staticmethod
        def backward(ctx, grad):
            key = tuple(
                t.flatten()[at].item() for t in (*ctx.saved_tensors, grad) for at in (0, -1)
            )
            if key not in found:
                for _ in range(20):
                    leaves = [t.detach().requires_grad_() for t in ctx.saved_tensors]
                    with torch.enable_grad():
                        found[key] = torch.autograd.grad(honest(config)(*leaves), leaves, grad)
            return found[key]

    return Remembering.apply


def puts_off_its_work(config: Config) -> Attention:
    """Leaves a mode on that computes once someone looks at what was returned."""
    right, waiting = honest(config), {}

    class Later(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            if getattr(func, "__name__", "") == "detach" and id(args[0]) in waiting:
                args[0].copy_(right(*waiting.pop(id(args[0]))))
            return func(*args, **(kwargs or {}))

    Later().__enter__()

    def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        out = torch.empty_like(q)
        waiting[id(out)] = (q, k, v)
        return out

    return attention
