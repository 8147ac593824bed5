"""Branches that share heads made one, by Triton: outputs by their log-sum-exps, gradients by sums.

What is read is compact: (rows, HEAD_DIM), the selected rows of each piece in the order of
`tiles.compact_rows`. A program owns positions of one head and looks into every branch, so that each
byte is written once, zeros where no branch selects a position included, and always the same. The
rule is that of the online softmax: parts o_i with log-sum-exps l_i give sum_i exp(l_i - l) o_i,
where l = log sum_i exp(l_i). Sums in float32.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .triton_tile import FIELDS


@triton.jit
def _owned(seq_len, all_heads, BLOCK_M: tl.constexpr):
    """The positions, head and batch entry of a program."""
    blocks = tl.cdiv(seq_len, BLOCK_M)
    block, share = tl.program_id(0) % blocks, tl.program_id(0) // blocks
    positions = block * BLOCK_M + tl.arange(0, BLOCK_M)
    return positions, share % all_heads, (share // all_heads).to(tl.int64)


@triton.jit
def _rows_in(branch, table, entries, positions, head, batch, batches, seq_len, all_heads):
    """Which positions a branch selects for a head, and their numbers among all compact rows."""
    entry = table + tl.load(entries + branch * all_heads + head) * FIELDS
    length, rate, offset = tl.load(entry + 1), tl.load(entry + 2), tl.load(entry + 3)
    selected, first_head = tl.load(entry + 4), tl.load(entry + 5)
    heads, segments = tl.load(entry + 6), tl.load(entry + 8)
    segment = positions // length
    within = positions - segment * length - offset
    row = within // rate
    there = (within >= 0) & (row * rate == within) & (positions < seq_len)
    share = (batch * segments + segment) * heads + (head - first_head)
    return there, tl.load(entry + 9).to(tl.int64) * batches + share * selected + row


@triton.jit
def _load(parts, rows, there, HEAD_DIM: tl.constexpr, WIDTH: tl.constexpr):
    """(rows, WIDTH) in float32, 0 for what is not there."""
    columns = tl.arange(0, WIDTH)
    at = parts + rows[:, None] * HEAD_DIM + columns[None, :]
    mask = there[:, None] & (columns < HEAD_DIM)[None, :]
    return tl.load(at, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def _store(
    into, values, positions, head, batch, seq_len, all_heads,
    HEAD_DIM: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """Write (positions, WIDTH) of a head into (batch, seq_len, heads, HEAD_DIM), contiguous."""
    columns = tl.arange(0, WIDTH)
    rows = (batch * seq_len + positions) * all_heads + head
    mask = (positions < seq_len)[:, None] & (columns < HEAD_DIM)[None, :]
    at = into + rows[:, None] * HEAD_DIM + columns[None, :]
    tl.store(at, values.to(into.dtype.element_ty), mask=mask)


@triton.jit
def gather_kernel(
    parts, sums, out, lse, table, entries, batches, seq_len, all_heads,
    BRANCHES: tl.constexpr, HEAD_DIM: tl.constexpr, WIDTH: tl.constexpr, BLOCK_M: tl.constexpr,
    KEEP: tl.constexpr,
):  # fmt: skip
    """The output of parts and their natural log-sum-exps `sums` (rows,); grid: b * H * blocks.

    KEEP: that of the merged result into lse, at every row that was merged into it.
    """
    positions, head, batch = _owned(seq_len, all_heads, BLOCK_M)
    acc = tl.zeros((BLOCK_M, WIDTH), tl.float32)
    total = tl.zeros((BLOCK_M,), tl.float32)
    top = tl.full((BLOCK_M,), float("-inf"), tl.float32)
    for branch in tl.static_range(BRANCHES):
        there, rows = _rows_in(
            branch, table, entries, positions, head, batch, batches, seq_len, all_heads
        )
        more = tl.load(sums + rows, mask=there, other=float("-inf"))
        higher = tl.maximum(top, more)
        # -inf where no branch so far selects the position: -inf - -inf is no number
        base = tl.where(higher > float("-inf"), higher, 0.0)
        shrink, weight = tl.exp(top - base), tl.exp(more - base)
        part = _load(parts, rows, there, HEAD_DIM, WIDTH)
        acc = acc * shrink[:, None] + part * weight[:, None]
        total = total * shrink + weight
        top = higher
    total = tl.where(total == 0.0, 1.0, total)
    acc = acc / total[:, None]
    _store(out, acc, positions, head, batch, seq_len, all_heads, HEAD_DIM, WIDTH)
    if KEEP:
        merged = top + tl.log(total)
        for branch in tl.static_range(BRANCHES):
            there, rows = _rows_in(
                branch, table, entries, positions, head, batch, batches, seq_len, all_heads
            )
            tl.store(lse + rows, merged, mask=there)


@triton.jit
def gather_gradients_kernel(
    parts_q, parts_k, parts_v, dq, dk, dv, table, entries, batches, seq_len, all_heads,
    BRANCHES: tl.constexpr, HEAD_DIM: tl.constexpr, WIDTH: tl.constexpr, BLOCK_M: tl.constexpr,
):  # fmt: skip
    """Each of dq, dk and dv: what the branches add to it; grid: b * H * blocks."""
    positions, head, batch = _owned(seq_len, all_heads, BLOCK_M)
    sum_q = tl.zeros((BLOCK_M, WIDTH), tl.float32)
    sum_k = tl.zeros((BLOCK_M, WIDTH), tl.float32)
    sum_v = tl.zeros((BLOCK_M, WIDTH), tl.float32)
    for branch in tl.static_range(BRANCHES):
        there, rows = _rows_in(
            branch, table, entries, positions, head, batch, batches, seq_len, all_heads
        )
        sum_q += _load(parts_q, rows, there, HEAD_DIM, WIDTH)
        sum_k += _load(parts_k, rows, there, HEAD_DIM, WIDTH)
        sum_v += _load(parts_v, rows, there, HEAD_DIM, WIDTH)
    _store(dq, sum_q, positions, head, batch, seq_len, all_heads, HEAD_DIM, WIDTH)
    _store(dk, sum_k, positions, head, batch, seq_len, all_heads, HEAD_DIM, WIDTH)
    _store(dv, sum_v, positions, head, batch, seq_len, all_heads, HEAD_DIM, WIDTH)
