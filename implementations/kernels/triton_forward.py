"""The pieces of dilated attention in one launch, by Triton (Dao 2023, FlashAttention-2).

Shapes: q, k, v (batch, seq_len, heads, HEAD_DIM), any strides but the last, which is 1; out alike
and contiguous. Kept for the backward pass: lse, float32, the natural log-sum-exp of each selected
row in the order of `tiles.compact_rows`. float16, bfloat16 or float32; sums in float32.

PARTS, for heads that take several branches: out is (rows, HEAD_DIM), the result of each selected
row over its piece alone, in the order of lse; `triton_gather` makes the output of them.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .triton_tile import decode, load_rows, put_rows

LN_2: tl.constexpr = tl.constexpr(0.6931471805599453)


@triton.jit
def attend(
    acc, total, top, q, k, v, k_step, v_step, rows, first, last, selected, scale,
    HEAD_DIM: tl.constexpr, WIDTH: tl.constexpr, BLOCK_N: tl.constexpr,
    CAUSAL: tl.constexpr, MASKED: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Take in the keys [first, last), BLOCK_N at a time; scale holds log2(e)."""
    near = tl.arange(0, BLOCK_N)
    k_far, v_far = k_step.to(tl.int64), v_step.to(tl.int64)
    for start in tl.range(first, last, BLOCK_N):
        keys = load_rows(k + start * k_far, near, k_step, selected - start, HEAD_DIM, WIDTH, MASKED)
        scores = tl.dot(q, tl.trans(keys), input_precision=PRECISION)
        if MASKED:
            scores = tl.where((near < selected - start)[None, :], scores, float("-inf"))
        if CAUSAL:
            scores = tl.where((rows - start)[:, None] >= near[None, :], scores, float("-inf"))
        higher = tl.maximum(top, tl.max(scores, 1) * scale)
        weights = tl.math.exp2(scores * scale - higher[:, None])
        shrink = tl.math.exp2(top - higher)
        total = total * shrink + tl.sum(weights, 1)
        values = load_rows(
            v + start * v_far, near, v_step, selected - start, HEAD_DIM, WIDTH, MASKED
        )
        acc = tl.dot(
            weights.to(values.dtype), values, acc * shrink[:, None], input_precision=PRECISION
        )
        top = higher
    return acc, total, top


@triton.jit
def forward_kernel(
    q, k, v, out, lse, table,
    q_batch, q_row, q_head, k_batch, k_row, k_head, v_batch, v_row, v_head,
    batches, seq_len, all_heads, scale, mixture,
    PIECES: tl.constexpr, HEAD_DIM: tl.constexpr, WIDTH: tl.constexpr, UNIT: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
    CAUSAL: tl.constexpr, EVEN: tl.constexpr, WIDE: tl.constexpr, KEEP: tl.constexpr, PRECISION: tl.constexpr,
    PARTS: tl.constexpr,
):  # fmt: skip
    """One tile: BLOCK_M rows of one head of one segment, against that segment's keys."""
    rate, offset, selected, length, block, segment, batch, head, compact = decode(
        table, tl.program_id(0), batches, PIECES, CAUSAL
    )
    start = segment.to(tl.int64) * length
    q += (batch * q_batch + head * q_head + (start + offset) * q_row) * UNIT
    k += (batch * k_batch + head * k_head + (start + offset) * k_row) * UNIT
    v += (batch * v_batch + head * v_head + (start + offset) * v_row) * UNIT
    wide = rate.to(tl.int64) if WIDE else rate
    q_step, k_step, v_step = wide * q_row * UNIT, wide * k_row * UNIT, wide * v_row * UNIT
    near = tl.arange(0, BLOCK_M)
    first = block * BLOCK_M
    rows = first + near
    q += first * q_step.to(tl.int64)
    asked = load_rows(q, near, q_step, selected - first, HEAD_DIM, WIDTH, True)

    acc = tl.zeros((BLOCK_M, WIDTH), tl.float32)
    total = tl.zeros((BLOCK_M,), tl.float32)
    top = tl.full((BLOCK_M,), float("-inf"), tl.float32)
    last = selected
    whole = selected // BLOCK_N * BLOCK_N
    if CAUSAL:
        last = tl.minimum(selected, first + BLOCK_M)
        whole = tl.minimum(whole, first // BLOCK_N * BLOCK_N)
    acc, total, top = attend(
        acc, total, top, asked, k, v, k_step, v_step, rows, 0, whole, selected, scale,
        HEAD_DIM, WIDTH, BLOCK_N, False, False, PRECISION,
    )  # fmt: skip
    if CAUSAL or not EVEN:
        acc, total, top = attend(
            acc, total, top, asked, k, v, k_step, v_step, rows, whole, last, selected, scale,
            HEAD_DIM, WIDTH, BLOCK_N, CAUSAL, not EVEN, PRECISION,
        )  # fmt: skip

    row_step = all_heads * HEAD_DIM
    place = out + ((batch * seq_len + start) * row_step + head * HEAD_DIM)
    acc = acc / total[:, None]
    put_rows(
        out, place, compact, acc * mixture, rows, row_step, rate, offset, selected, length,
        HEAD_DIM, WIDTH, PARTS,
    )  # fmt: skip
    if KEEP:
        tl.store(lse + compact + rows, (top + tl.math.log2(total)) * LN_2, mask=rows < selected)
