"""One step of the online softmax over parts, in one pass over the running result, by Triton."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def merge_kernel(
    into, total, out, lse,
    i_outer, i_head, i_row, t_outer, t_head, t_row, o_outer, o_head, o_row, l_outer, l_head, l_row,
    blocks, heads, rows,
    HEAD_DIM: tl.constexpr, WIDTH: tl.constexpr, BLOCK_M: tl.constexpr,
):  # fmt: skip
    """Add out (B, g, m, d) with lse (B, g, m) to the running `into` and `total`.

    `into` is float32 or of the inputs' dtype; lse and total are natural log-sum-exps.

    A row whose total is -inf holds nothing yet: its memory may hold anything. Grid: B * g * blocks.
    """
    block, share = tl.program_id(0) % blocks, tl.program_id(0) // blocks
    outer, head = (share // heads).to(tl.int64), (share % heads).to(tl.int64)
    row = block * BLOCK_M + tl.arange(0, BLOCK_M)
    column, valid, wide = tl.arange(0, WIDTH), row < rows, row.to(tl.int64)
    inside = valid[:, None] & (column < HEAD_DIM)[None, :]
    at_total = total + outer * t_outer + head * t_head + wide * t_row
    before = tl.load(at_total, mask=valid, other=float("-inf"))
    more = tl.load(lse + outer * l_outer + head * l_head + wide * l_row, mask=valid, other=0.0)
    higher = tl.maximum(before, more)
    merged = higher + tl.log(tl.exp(before - higher) + tl.exp(more - higher))
    at_into = into + outer * i_outer + head * i_head + wide[:, None] * i_row + column[None, :]
    begun = inside & (before > float("-inf"))[:, None]
    running = tl.load(at_into, mask=begun, other=0.0).to(tl.float32)
    part = tl.load(
        out + outer * o_outer + head * o_head + wide[:, None] * o_row + column[None, :],
        mask=inside,
        other=0.0,
    )
    result = (
        running * tl.exp(before - merged)[:, None]
        + part.to(tl.float32) * tl.exp(more - merged)[:, None]
    )
    tl.store(at_into, result.to(into.dtype.element_ty), mask=inside)
    tl.store(at_total, merged, mask=valid)
