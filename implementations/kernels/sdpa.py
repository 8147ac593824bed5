"""Attention over one set of keys by torch's kernels, with log-sum-exp and backward pass.

`torch.nn.functional.scaled_dot_product_attention` hides the log-sum-exp, so its kernels are called
by name. They take strided views as they are, and none of them materialises scores. A backward
kernel only needs the softmax's result and its log-sum-exp; given those of a softmax over more keys
it answers with this part's share of that softmax's gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch.backends.cuda import SDPAParams, can_use_cudnn_attention
from torch.nn.functional import pad

_aten = torch.ops.aten
_LSE_ROWS = 32  # the memory-efficient backward reads log-sum-exps by the 32
_FLASH_WIDTH = 256

Tensors = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class Attended:
    """Result of one attention call.

    Attributes:
        out: (B, g, m, d) in the inputs' dtype.
        lse: (B, g, m) float32, natural logarithm.
    """

    out: torch.Tensor
    lse: torch.Tensor


@dataclass(frozen=True)
class Kernel:
    """A pair of kernels.

    Attributes:
        forward: (q (B, g, m, d), k and v (B, g, m', d)), causal, scale of the scores -> Attended.
        backward: gradient of out, (q, k, v), Attended, causal, scale -> dq, dk, dv.
        as_q: backward wants out and its gradient laid out as q is.
    """

    name: str
    forward: Callable[[Tensors, bool, float], Attended]
    backward: Callable[[torch.Tensor, Tensors, Attended, bool, float], Tensors]
    as_q: bool = False

    def upstream(self, grad: torch.Tensor, q: torch.Tensor, factor: float) -> torch.Tensor:
        """Factor * grad as `backward` wants it."""
        if self.as_q:
            return torch.mul(grad, factor, out=torch.empty_like(q))
        return grad if factor == 1 else grad * factor


def kernel_for(q: torch.Tensor, k: torch.Tensor, backward: bool = False) -> Kernel:
    """The kernel that serves q (B, g, m, d) and k (B, g, m', d), its forward or its backward pass.

    On CUDA head_dim must be a multiple of 8. Half precision goes to cuDNN where that takes it, on
    Hopper and newer, else to flash (head_dim at most 256); float32, which both refuse, to the
    memory-efficient kernel. What one kernel found in the forward pass another may take back.
    """
    if q.device.type == "cpu":
        return CPU
    if q.dtype == torch.float32 or q.shape[-1] > _FLASH_WIDTH:
        return EFFICIENT
    takes = takes_cudnn(q.device, q.dtype, tuple(q.shape), tuple(k.shape), backward)
    return CUDNN if takes else FLASH


@lru_cache(maxsize=1024)
def takes_cudnn(
    device: torch.device,
    dtype: torch.dtype,
    q: tuple[int, ...],
    k: tuple[int, ...],
    backward: bool = False,
) -> bool:
    """Whether q (B, g, m, d) and k (B, g, m', d) of these sizes go to cuDNN.

    Measured on an H200 over 97 random problems in half precision (docs/LOG.md, 2026-11-30): where
    torch says that cuDNN can, it is up to 2.4 times as fast as flash, and nowhere slower by more
    than 5 %. Which sizes it can differs between versions, above all beyond a head_dim of 128, so
    torch is asked.
    """
    if device.type != "cuda" or not _has_cudnn(device):
        return False
    with torch.cuda.device(device), torch.enable_grad():
        rows, keys = (
            torch.empty(1, 1, 1, size[3], dtype=dtype, device=device)
            .as_strided(size, (0, 0, 0, 1))
            .requires_grad_(backward)
            for size in (q, k)
        )
        asked = SDPAParams(rows, keys, keys, None, 0.0, False, False)
        return bool(can_use_cudnn_attention(asked))


# What torch.compiler.assume_constant_result sets, for graphs of what calls this. To ask it for that
# imports the whole compiler, a second of every sweep's start
# (findings/marking-a-constant-imports-the-compiler.sh).
takes_cudnn._dynamo_marked_constant = True  # type: ignore[attr-defined]


@lru_cache
def _has_cudnn(device: torch.device) -> bool:
    """Whether cuDNN is there and the faster one, which it is from Hopper on."""
    usable: bool = torch.backends.cudnn.is_acceptable(torch.empty(0, device=device))  # type: ignore[no-untyped-call]
    return usable and torch.cuda.get_device_capability(device) >= (9, 0)


def _cpu_forward(qkv: Tensors, causal: bool, scale: float) -> Attended:
    return Attended(
        *_aten._scaled_dot_product_flash_attention_for_cpu(*qkv, 0.0, causal, scale=scale)
    )


def _cpu_backward(
    grad: torch.Tensor, qkv: Tensors, done: Attended, causal: bool, scale: float
) -> Tensors:
    found: Tensors = _aten._scaled_dot_product_flash_attention_for_cpu_backward(
        grad, *qkv, done.out, done.lse, 0.0, causal, scale=scale
    )
    return found


def _flash_forward(qkv: Tensors, causal: bool, scale: float) -> Attended:
    out, lse, *_ = _aten._scaled_dot_product_flash_attention(*qkv, 0.0, causal, scale=scale)
    return Attended(out, lse)


def _flash_backward(
    grad: torch.Tensor, qkv: Tensors, done: Attended, causal: bool, scale: float
) -> Tensors:
    rows, keys, unused = qkv[0].shape[2], qkv[1].shape[2], _unused(grad.device)
    found: Tensors = _aten._scaled_dot_product_flash_attention_backward(
        grad,
        *qkv,
        done.out,
        done.lse.contiguous(),
        None,
        None,
        rows,
        keys,
        0.0,
        causal,
        unused,
        unused,
        scale=scale,
    )
    return found


def _cudnn_forward(qkv: Tensors, causal: bool, scale: float) -> Attended:
    out, lse, *_ = _aten._scaled_dot_product_cudnn_attention(
        *qkv, None, True, 0.0, causal, False, scale=scale
    )
    return Attended(out, lse.view(out.shape[:3]))


def _cudnn_backward(
    grad: torch.Tensor, qkv: Tensors, done: Attended, causal: bool, scale: float
) -> Tensors:
    # torch keeps cuDNN's plans by the strides of q, k and v alone and takes for granted that out
    # and its gradient are laid out as it lays out its own results, like q: with any others it reads
    # the wrong elements and says nothing.
    out = done.out if done.out.stride() == grad.stride() else torch.empty_like(grad).copy_(done.out)
    rows, keys, unused = qkv[0].shape[2], qkv[1].shape[2], _unused(grad.device)
    lse = done.lse.contiguous()[..., None]
    found: Tensors = _aten._scaled_dot_product_cudnn_attention_backward(
        grad, *qkv, out, lse, unused, unused, None, None, None, rows, keys, 0.0, causal, scale=scale
    )
    return found


def _efficient_forward(qkv: Tensors, causal: bool, scale: float) -> Attended:
    out, lse, *_ = _aten._scaled_dot_product_efficient_attention(
        *qkv, None, True, 0.0, causal, scale=scale
    )
    return Attended(out, lse[..., : qkv[0].shape[2]])


def _efficient_backward(
    grad: torch.Tensor, qkv: Tensors, done: Attended, causal: bool, scale: float
) -> Tensors:
    lse = pad(done.lse, (0, -done.lse.shape[-1] % _LSE_ROWS), value=torch.inf)
    unused, wanted = _unused(grad.device), [True, True, True, False]
    found = _aten._scaled_dot_product_efficient_attention_backward(
        grad,
        *qkv,
        None,
        done.out,
        lse.contiguous(),
        unused,
        unused,
        0.0,
        wanted,
        causal,
        scale=scale,
    )
    return found[0], found[1], found[2]


@lru_cache
def _unused(device: torch.device) -> torch.Tensor:
    """In place of the random state that dropout would need."""
    return torch.zeros((), dtype=torch.int64, device=device)


CPU = Kernel("cpu flash", _cpu_forward, _cpu_backward)
FLASH = Kernel("flash", _flash_forward, _flash_backward)
CUDNN = Kernel("cuDNN", _cudnn_forward, _cudnn_backward, as_q=True)
EFFICIENT = Kernel("memory-efficient", _efficient_forward, _efficient_backward)
