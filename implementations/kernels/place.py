"""Results of a branch's calls put into their place in tensors like the output."""

from __future__ import annotations

import torch

from ..dilated_attention.pattern import Piece
from .calls import Call, Strided
from .online import takes_triton
from .tiles import row_groups

BLOCK_ROWS = 32


def fills(call: Call, t: torch.Tensor) -> bool:
    """Whether `place` writes zeros between the call's rows, so that nothing else need do it."""
    return call.whole and takes_triton(t)


def place(
    found: tuple[torch.Tensor, ...], into: tuple[torch.Tensor, ...], call: Call, factor: float
) -> None:
    """Write factor * found (B, g, m, d) to the call's rows of one or three tensors (b, n, H, d).

    If it `fills`, in one pass and with zeros between the rows.
    """
    if not fills(call, into[0]):
        for source, target in zip(found, into, strict=True):
            torch.mul(source, factor, out=call.rows.of(target))
        return
    place_whole(found, into, call.rows, call.part.piece, factor)


def place_whole(
    found: tuple[torch.Tensor, ...],
    into: tuple[torch.Tensor, ...],
    place: Strided,
    piece: Piece,
    factor: float,
) -> None:
    """Write factor * found (B, g, m, d), all rows of a piece's segments, to their place in each of
    one or three tensors, and zeros between them; where `takes_triton`.
    """
    from .triton_place import place_kernel

    outer, heads, rows, head_dim = place.size
    strides: list[int] = []
    for source in _three(found):
        strides += source.stride()[:3]
    blocks = -(-row_groups(piece) // BLOCK_ROWS)
    place_kernel[(outer * heads * blocks,)](
        *_three(found), *_three(into), *strides, place.offset, *place.stride[:2], blocks, heads, rows, factor,
        piece.rate, piece.offset, piece.segment_length, place.stride[2] // piece.rate,
        COUNT=len(found), HEAD_DIM=head_dim, WIDTH=1 << (head_dim - 1).bit_length(), BLOCK_M=BLOCK_ROWS,
    )  # fmt: skip


def _three(tensors: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """The kernel's three, the first standing in for those it will not touch."""
    return tensors if len(tensors) == 3 else tensors * 3
