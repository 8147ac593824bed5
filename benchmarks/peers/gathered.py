"""Peer over ranks: every rank gathers all of K and V, then attends by torch's own
scaled_dot_product_attention.

The same function as the workload's, without what dilation saves of the communication, and without
an order in which the gather could hide behind anything.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

from implementations.dilated_attention.pattern import Pattern, Piece

Attention = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def build(config: Any) -> Attention:
    """Attention of the positions of this rank: groups of heads, and over several ranks not causal."""
    if config.mixing != "head_groups":
        raise NotImplementedError("knows groups of heads only")
    if config.causal and config.world_size > 1:
        raise NotImplementedError("over ranks it knows attention without causality only")
    pattern = Pattern.of(config)
    rank = config.rank if config.world_size > 1 else 0

    def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        held = q.shape[1]
        first = rank * held
        if config.world_size > 1:
            from torch.distributed.nn.functional import all_gather

            k, v = (torch.cat(all_gather(t.contiguous()), dim=1) for t in (k, v))
        heads = []
        for piece in pattern.pieces:
            group = slice(piece.first_head, piece.last_head)
            heads.append(
                _piece(q[:, :, group], k[:, :, group], v[:, :, group], piece, first, config.causal)
            )
        return torch.cat(heads, dim=2) * pattern.scale

    return attention


def _piece(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, piece: Piece, first: int, causal: bool
) -> torch.Tensor:
    """(b, n / w, g, d): the rows of one piece that begin at position `first`, 0 where none takes
    part.
    """
    length, rate, held = piece.segment_length, piece.rate, q.shape[1]
    out = torch.zeros_like(q)
    for segment in range(first // length, -(-(first + held) // length)):
        start, end = segment * length + piece.offset, (segment + 1) * length
        # selected positions of the segment that lie before this rank
        before = max(0, -(-(first - start) // rate))
        begin = start + before * rate
        stop = min(end, first + held)
        if begin >= stop:
            continue
        rows = slice(begin - first, stop - first, rate)
        near = (q[:, rows], k[:, start:end:rate], v[:, start:end:rate])
        found = scaled_dot_product_attention(*(t.transpose(1, 2) for t in near), is_causal=causal)
        out = out.slice_scatter(found.transpose(1, 2), 1, rows.start, rows.stop, rate)
    return out
