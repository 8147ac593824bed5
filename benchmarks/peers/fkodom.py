"""Peer: dilated-attention-pytorch 0.2.0 (fkodom). Its xformers call is served by SDPA where
xformers is missing.

Its function differs from the definition in two ways, so a mismatch is expected: each branch's
output is divided by its own sum over positions, and with heads that the branches do not divide
evenly, groups overlap and heads are left out.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

sys.path += [
    str(folder) for folder in Path(__file__).parent.glob(".venv/lib/python*/site-packages")
]


def build(config: Any) -> Any:
    """The package's DilatedAttention, of q, k, v (batch, seq_len, heads, head_dim)."""
    if config.mixing != "head_groups":
        raise NotImplementedError("the package knows groups of heads only")
    if importlib.util.find_spec("xformers") is None:
        _serve_xformers()
    from dilated_attention_pytorch.dilated_attention import DilatedAttention

    attention = DilatedAttention(config.segment_lengths, config.dilation_rates)
    return lambda q, k, v: attention(q, k, v, is_causal=config.causal)


def _serve_xformers() -> None:
    """The two names of xformers.ops that the package uses."""
    package, ops = ModuleType("xformers"), ModuleType("xformers.ops")
    ops.AttentionOp, ops.LowerTriangularMask = object, object  # type: ignore[attr-defined]
    ops.memory_efficient_attention = _attention  # type: ignore[attr-defined]
    package.ops = ops  # type: ignore[attr-defined]
    sys.modules |= {"xformers": package, "xformers.ops": ops}


def _attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attn_bias: Any = None, **_: Any
) -> torch.Tensor:
    rows, keys, values = (t.transpose(1, 2) for t in (query, key, value))
    return scaled_dot_product_attention(
        rows, keys, values, is_causal=attn_bias is not None
    ).transpose(1, 2)
