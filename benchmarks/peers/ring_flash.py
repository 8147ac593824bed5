"""Peer: ring-attention-pytorch 0.5.20 (lucidrains), dense, on one device: its flash attention in
plain PyTorch.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path += [
    str(folder) for folder in Path(__file__).parent.glob(".venv/lib/python*/site-packages")
]


def build(config: Any) -> Any:
    """Dense attention of q, k, v (batch, seq_len, heads, head_dim), in buckets of a quarter of the
    sequence.
    """
    from ring_attention_pytorch import ring_flash_attn

    bucket = max(1, config.seq_len // 4)
    return lambda q, k, v: ring_flash_attn(q, k, v, causal=config.causal, bucket_size=bucket)
