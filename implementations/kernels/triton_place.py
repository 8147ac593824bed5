"""Puts results of a branch's calls into place by Triton: scaled, zeros between selected rows."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _place(
    source, into, s_outer, s_head, s_row, outer, head, row, rows, factor, rate, offset, length, step, at,
    HEAD_DIM: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    column, wide = tl.arange(0, WIDTH), row.to(tl.int64)
    width = (column < HEAD_DIM)[None, :]
    near = source + outer * s_outer + head * s_head + wide[:, None] * s_row + column[None, :]
    inside = (row < rows)[:, None] & width
    result = (tl.load(near, mask=inside, other=0.0).to(tl.float32) * factor).to(
        into.dtype.element_ty
    )
    place = into + at + wide[:, None] * rate * step + column[None, :]
    tl.store(place, result, mask=inside)
    nothing = tl.zeros_like(result)
    for other in range(1, rate):
        position = (offset + other) % rate
        between = (wide * rate + position < length)[:, None] & width
        tl.store(place + (position - offset).to(tl.int64) * step, nothing, mask=between)


@triton.jit
def place_kernel(
    source_0, source_1, source_2, into_0, into_1, into_2,
    a_outer, a_head, a_row, b_outer, b_head, b_row, c_outer, c_head, c_row,
    i_offset, i_outer, i_head, blocks, heads, rows, factor, rate, offset, length, step,
    COUNT: tl.constexpr, HEAD_DIM: tl.constexpr, WIDTH: tl.constexpr, BLOCK_M: tl.constexpr,
):  # fmt: skip
    """Write factor * source (B, g, m, d) of COUNT (1 or 3) tensors to rows of `into`.

    The rows are `rate * step` elements apart.

    A row stands for `rate` positions of a segment of `length`, `step` elements apart, of which it
    is at `offset`; the others become 0. Grid: B * g * blocks.
    """
    block, share = tl.program_id(0) % blocks, tl.program_id(0) // blocks
    outer, head = (share // heads).to(tl.int64), (share % heads).to(tl.int64)
    row = block * BLOCK_M + tl.arange(0, BLOCK_M)
    at = i_offset + outer * i_outer + head * i_head
    _place(
        source_0, into_0, a_outer, a_head, a_row, outer, head, row, rows, factor, rate, offset, length, step, at,
        HEAD_DIM, WIDTH,
    )  # fmt: skip
    if COUNT == 3:
        _place(
            source_1, into_1, b_outer, b_head, b_row, outer, head, row, rows, factor, rate, offset, length, step, at,
            HEAD_DIM, WIDTH,
        )  # fmt: skip
        _place(
            source_2, into_2, c_outer, c_head, c_row, outer, head, row, rows, factor, rate, offset, length, step, at,
            HEAD_DIM, WIDTH,
        )  # fmt: skip
