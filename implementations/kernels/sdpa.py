"""Attention over one set of keys by torch's own kernels, with what is needed to merge it and to go back through it.

`torch.nn.functional.scaled_dot_product_attention` hides the log-sum-exp, so its kernels are called by name. They take
strided views as they are, and none of them materialises scores. A backward kernel only needs the softmax's result and
its log-sum-exp; given those of a softmax over more keys it answers with this part's share of that softmax's gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import pad

_aten = torch.ops.aten
_LSE_ROWS = 32  # the memory-efficient backward reads log-sum-exps by the 32

Tensors = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class Attended:
    """Result of one attention call.

    Attributes:
        out: (B, g, m, d) in the inputs' dtype.
        lse: (B, g, m) float32, natural logarithm.
        rest: what this kernel's backward wants back.
    """

    out: torch.Tensor
    lse: torch.Tensor
    rest: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Kernel:
    """A pair of kernels.

    Attributes:
        forward: (q (B, g, m, d), k and v (B, g, m', d)), causal, scale of the scores -> Attended.
        backward: gradient of out, (q, k, v), Attended, causal, scale -> dq, dk, dv.
    """

    name: str
    forward: Callable[[Tensors, bool, float], Attended]
    backward: Callable[[torch.Tensor, Tensors, Attended, bool, float], Tensors]


def kernel_for(device: torch.device, dtype: torch.dtype) -> Kernel:
    """The kernel that serves this device and dtype.

    On CUDA head_dim must be a multiple of 8, and flash wants it at most 256.
    """
    if device.type == "cpu":
        return CPU
    return EFFICIENT if dtype == torch.float32 else FLASH


def _cpu_forward(qkv: Tensors, causal: bool, scale: float) -> Attended:
    return Attended(*_aten._scaled_dot_product_flash_attention_for_cpu(*qkv, 0.0, causal, scale=scale))


def _cpu_backward(grad: torch.Tensor, qkv: Tensors, done: Attended, causal: bool, scale: float) -> Tensors:
    found: Tensors = _aten._scaled_dot_product_flash_attention_for_cpu_backward(
        grad, *qkv, done.out, done.lse, 0.0, causal, scale=scale
    )
    return found


def _flash_forward(qkv: Tensors, causal: bool, scale: float) -> Attended:
    out, lse, *rest = _aten._scaled_dot_product_flash_attention(*qkv, 0.0, causal, scale=scale)
    return Attended(out, lse, tuple(rest[:6]))


def _flash_backward(grad: torch.Tensor, qkv: Tensors, done: Attended, causal: bool, scale: float) -> Tensors:
    cum_q, cum_k, max_q, max_k, seed, offset = done.rest
    found: Tensors = _aten._scaled_dot_product_flash_attention_backward(
        grad,
        *qkv,
        done.out,
        done.lse.contiguous(),
        cum_q,
        cum_k,
        max_q,
        max_k,
        0.0,
        causal,
        seed,
        offset,
        scale=scale,
    )
    return found


def _efficient_forward(qkv: Tensors, causal: bool, scale: float) -> Attended:
    out, lse, *rest = _aten._scaled_dot_product_efficient_attention(*qkv, None, True, 0.0, causal, scale=scale)
    return Attended(out, lse[..., : qkv[0].shape[2]], tuple(rest))


def _efficient_backward(grad: torch.Tensor, qkv: Tensors, done: Attended, causal: bool, scale: float) -> Tensors:
    lse = pad(done.lse, (0, -done.lse.shape[-1] % _LSE_ROWS), value=torch.inf)
    wanted = [True, True, True, False]
    found = _aten._scaled_dot_product_efficient_attention_backward(
        grad, *qkv, None, done.out, lse.contiguous(), *done.rest, 0.0, wanted, causal, scale=scale
    )
    return found[0], found[1], found[2]


CPU = Kernel("cpu flash", _cpu_forward, _cpu_backward)
FLASH = Kernel("flash", _flash_forward, _flash_backward)
EFFICIENT = Kernel("memory-efficient", _efficient_forward, _efficient_backward)
