"""The backward pass in two launches, by Triton (Dao 2023, appendix B).

The first sums out * grad over each row. In the second half of the programs own keys and sum dk and
dv over the rows that ask them, the others own rows and sum dq over their keys: nothing is added
from two sides, so results are the same each time, and every byte of dq, dk and dv is written once,
zeros between the selected positions included.

PARTS, for heads that take several branches: lse is of the merged result, and dq, dk and dv are
(rows, HEAD_DIM), what each piece adds to them, in the order of lse; `triton_gather` adds it up.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .triton_tile import decode, load_rows, put_rows

LOG2_E: tl.constexpr = tl.constexpr(1.4426950408889634)


@triton.jit
def delta_kernel(
    out, grad, delta, table, g_batch, g_row, g_head, batches, seq_len, all_heads,
    PIECES: tl.constexpr, HEAD_DIM: tl.constexpr, WIDTH: tl.constexpr, UNIT: tl.constexpr,
    BLOCK_M: tl.constexpr,
):  # fmt: skip
    """Sum over features of out * grad of each selected row, in the order that lse is kept in."""
    rate, offset, selected, length, block, segment, batch, head, compact = decode(
        table, tl.program_id(0), batches, PIECES, False
    )
    first = segment.to(tl.int64) * length + offset
    row_step = all_heads * HEAD_DIM
    out += (batch * seq_len + first) * row_step + head * HEAD_DIM
    grad += (batch * g_batch + head * g_head + first * g_row) * UNIT
    rows = block * BLOCK_M + tl.arange(0, BLOCK_M)
    mine = load_rows(out, rows, rate.to(tl.int64) * row_step, selected, HEAD_DIM, WIDTH, True).to(
        tl.float32
    )
    wanted = load_rows(
        grad, rows, rate.to(tl.int64) * g_row * UNIT, selected, HEAD_DIM, WIDTH, True
    ).to(tl.float32)
    tl.store(delta + compact + rows, tl.sum(mine * wanted, 1), mask=rows < selected)


@triton.jit
def _key_gradients(
    k, v, q, grad, lse, delta, q_step, g_step, keys, first, selected, scale, mixture,
    HEAD_DIM: tl.constexpr, WIDTH: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
    CAUSAL: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Dk / scale and dv / mixture of BLOCK_M keys, over rows [first, selected) by BLOCK_N."""
    dk = tl.zeros((BLOCK_M, WIDTH), tl.float32)
    dv = tl.zeros((BLOCK_M, WIDTH), tl.float32)
    near = tl.arange(0, BLOCK_N)
    q_far, g_far = q_step.to(tl.int64), g_step.to(tl.int64)
    for start in tl.range(first, selected, BLOCK_N):
        asked = load_rows(q + start * q_far, near, q_step, selected - start, HEAD_DIM, WIDTH, True)
        wanted = load_rows(
            grad + start * g_far, near, g_step, selected - start, HEAD_DIM, WIDTH, True
        )
        sums = tl.load(lse + start + near, mask=near < selected - start, other=float("inf"))
        slope = tl.load(delta + start + near, mask=near < selected - start, other=0.0)
        scores = tl.dot(k, tl.trans(asked), input_precision=PRECISION) * scale
        weights = tl.math.exp2(scores - sums[None, :] * LOG2_E)
        if CAUSAL:
            weights = tl.where(near[None, :] >= (keys - start)[:, None], weights, 0.0)
        dv = tl.dot(weights.to(wanted.dtype), wanted, dv, input_precision=PRECISION)
        gain = tl.dot(v, tl.trans(wanted), input_precision=PRECISION) * mixture
        dk = tl.dot(
            (weights * (gain - slope[None, :])).to(asked.dtype),
            asked,
            dk,
            input_precision=PRECISION,
        )
    return dk, dv


@triton.jit
def _row_gradients(
    q, grad, k, v, sums, slope, k_step, v_step, rows, last, selected, scale, mixture,
    HEAD_DIM: tl.constexpr, WIDTH: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
    CAUSAL: tl.constexpr, EVEN: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Dq / scale of the scores for BLOCK_M rows, over keys [0, last), BLOCK_N at a time."""
    dq = tl.zeros((BLOCK_M, WIDTH), tl.float32)
    near = tl.arange(0, BLOCK_N)
    k_far, v_far = k_step.to(tl.int64), v_step.to(tl.int64)
    for start in tl.range(0, last, BLOCK_N):
        keys = load_rows(k + start * k_far, near, k_step, selected - start, HEAD_DIM, WIDTH, True)
        values = load_rows(v + start * v_far, near, v_step, selected - start, HEAD_DIM, WIDTH, True)
        scores = tl.dot(q, tl.trans(keys), input_precision=PRECISION) * scale
        weights = tl.math.exp2(scores - sums[:, None] * LOG2_E)
        if CAUSAL:
            weights = tl.where((rows - start)[:, None] >= near[None, :], weights, 0.0)
        elif not EVEN:  # absent keys: infinite if a row's scores are all very negative
            weights = tl.where((near < selected - start)[None, :], weights, 0.0)
        gain = tl.dot(grad, tl.trans(values), input_precision=PRECISION) * mixture
        dq = tl.dot(
            (weights * (gain - slope[:, None])).to(keys.dtype), keys, dq, input_precision=PRECISION
        )
    return dq


@triton.jit
def backward_kernel(
    q, k, v, grad, lse, delta, dq, dk, dv, table,
    q_batch, q_row, q_head, k_batch, k_row, k_head, v_batch, v_row, v_head, g_batch, g_row, g_head,
    batches, seq_len, all_heads, scale, score_scale, mixture,
    PIECES: tl.constexpr, HEAD_DIM: tl.constexpr, WIDTH: tl.constexpr, UNIT: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
    CAUSAL: tl.constexpr, EVEN: tl.constexpr, WIDE: tl.constexpr, PRECISION: tl.constexpr,
    PARTS: tl.constexpr,
):  # fmt: skip
    """One tile: dk, dv of BLOCK_M keys (axis 1: 0) or dq of rows (axis 1: 1). scale has log2(e)."""
    rate, offset, selected, length, block, segment, batch, head, compact = decode(
        table, tl.program_id(0), batches, PIECES, False
    )
    start = segment.to(tl.int64) * length
    wide = rate.to(tl.int64) if WIDE else rate
    q_step, g_step = wide * q_row * UNIT, wide * g_row * UNIT
    k_step, v_step = wide * k_row * UNIT, wide * v_row * UNIT
    q += (batch * q_batch + head * q_head + (start + offset) * q_row) * UNIT
    k += (batch * k_batch + head * k_head + (start + offset) * k_row) * UNIT
    v += (batch * v_batch + head * v_head + (start + offset) * v_row) * UNIT
    grad += (batch * g_batch + head * g_head + (start + offset) * g_row) * UNIT
    row_step = all_heads * HEAD_DIM
    place = (batch * seq_len + start) * row_step + head * HEAD_DIM
    near = tl.arange(0, BLOCK_M)
    first = block * BLOCK_M
    owned, left = first + near, selected - first
    if tl.program_id(1) == 0:
        begin = first // BLOCK_N * BLOCK_N if CAUSAL else 0
        keys = load_rows(k + first * k_step.to(tl.int64), near, k_step, left, HEAD_DIM, WIDTH, True)
        values = load_rows(
            v + first * v_step.to(tl.int64), near, v_step, left, HEAD_DIM, WIDTH, True
        )
        found_k, found_v = _key_gradients(
            keys, values, q, grad, lse + compact, delta + compact, q_step, g_step,
            owned, begin, selected, scale, mixture,
            HEAD_DIM, WIDTH, BLOCK_M, BLOCK_N, CAUSAL, PRECISION,
        )  # fmt: skip
        put_rows(
            dk, dk + place, compact, found_k * score_scale, owned, row_step, rate, offset,
            selected, length, HEAD_DIM, WIDTH, PARTS,
        )  # fmt: skip
        put_rows(
            dv, dv + place, compact, found_v * mixture, owned, row_step, rate, offset,
            selected, length, HEAD_DIM, WIDTH, PARTS,
        )  # fmt: skip
    else:
        last = selected
        if CAUSAL:
            last = tl.minimum(selected, first + BLOCK_M)
        asked = load_rows(
            q + first * q_step.to(tl.int64), near, q_step, left, HEAD_DIM, WIDTH, True
        )
        grad += first * g_step.to(tl.int64)
        wanted = load_rows(grad, near, g_step, left, HEAD_DIM, WIDTH, True)
        sums = tl.load(lse + compact + owned, mask=owned < selected, other=float("inf"))
        slope = tl.load(delta + compact + owned, mask=owned < selected, other=0.0)
        found_q = _row_gradients(
            asked, wanted, k, v, sums, slope, k_step, v_step,
            owned, last, selected, scale, mixture,
            HEAD_DIM, WIDTH, BLOCK_M, BLOCK_N, CAUSAL, EVEN, PRECISION,
        )  # fmt: skip
        put_rows(
            dq, dq + place, compact, found_q * score_scale, owned, row_step, rate, offset,
            selected, length, HEAD_DIM, WIDTH, PARTS,
        )  # fmt: skip
