"""Peer: torch's dense attention by one backend, the option `backend`: flash, cudnn, efficient or
math.

Right where the pattern is dense (one segment of the whole sequence, rate 1); elsewhere it computes
another function.
"""

from __future__ import annotations

from typing import Any

from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

BACKENDS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "math": SDPBackend.MATH,
}


def build(config: Any) -> Any:
    """Dense attention of q, k, v (batch, seq_len, heads, head_dim)."""
    backend = config.options["backend"]
    half_only = {"flash", "cudnn"} if config.device.type == "cuda" else {"cudnn", "efficient"}
    if backend in half_only and (config.device.type == "cpu" or config.dtype.itemsize == 4):
        raise NotImplementedError(f"{backend} does not take {config.dtype} on {config.device.type}")

    def attention(q: Any, k: Any, v: Any) -> Any:
        with sdpa_kernel(BACKENDS[backend]):
            rows, keys, values = (t.transpose(1, 2) for t in (q, k, v))
            return scaled_dot_product_attention(
                rows, keys, values, is_causal=config.causal
            ).transpose(1, 2)

    return attention
