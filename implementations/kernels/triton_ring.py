"""One step of dilated attention with keys in blocks, by Triton: all rows of one block of keys.

Shapes as in `triton_forward`, whose loop this is; it starts from what earlier steps found. Between
steps a row's result so far, normalised, is kept in float32 in `state`, (rows, HEAD_DIM) in the
order of `steps`, or in the row's own place in `out` where that is float32, and its natural
log-sum-exp in `lse`, in the order of `tiles.compact_rows`.
"""

from __future__ import annotations

import triton
import triton.language as tl

from ..kernels import steps
from .triton_forward import LN_2, attend
from .triton_tile import decode_entry, entry_of, load_rows, store_rows

FIELDS: tl.constexpr = tl.constexpr(steps.FIELDS)
LOG2_E: tl.constexpr = tl.constexpr(1.4426950408889634)


@triton.jit
def _decode(entry, tile, batches, LAST_FIRST: tl.constexpr):
    """Where a tile lies in its step.

    Returns:
        rate, offset, selected rows of a segment, segment length; block within the entry's rows,
        segment, batch entry, head; number of the segment's first row in the order of
        `tiles.compact_rows`, and among the carried rows.
    """
    rate, offset, selected, length, block, segment, batch, head, _ = decode_entry(
        entry, tile, batches, LAST_FIRST
    )
    heads, near = tl.load(entry + 6), head - tl.load(entry + 5)
    segment += tl.load(entry + 10)
    share = (batch * tl.load(entry + 11) + segment) * heads + near
    compact = tl.load(entry + 9).to(tl.int64) * batches + share * selected
    carried = tl.load(entry + 18) + (batch * heads + near) * tl.load(entry + 19)
    return rate, offset, selected, length, block, segment, batch, head, compact, carried


@triton.jit
def ring_kernel(
    q, k, v, out, lse, state, table,
    q_batch, q_row, q_head, k_batch, k_row, k_head, v_batch, v_row, v_head,
    batches, seq_len, all_heads, scale, mixture,
    ENTRIES: tl.constexpr, HEAD_DIM: tl.constexpr, WIDTH: tl.constexpr, UNIT: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
    CAUSAL: tl.constexpr, EVEN: tl.constexpr, WIDE: tl.constexpr, KEEP: tl.constexpr, PRECISION: tl.constexpr,
    IN_PLACE: tl.constexpr,
):  # fmt: skip
    """One tile: up to BLOCK_M rows of a head of a segment, against its keys in one block."""
    tile = tl.program_id(0)
    entry = entry_of(table, tile, ENTRIES, FIELDS)
    rate, offset, selected, length, block, segment, batch, head, compact, carried = _decode(
        entry, tile, batches, CAUSAL
    )
    lse += compact
    first = tl.load(entry + 12) + block * BLOCK_M
    end = tl.load(entry + 13)
    first_key, last_key = tl.load(entry + 14), tl.load(entry + 15)
    begins, ends = tl.load(entry + 16), tl.load(entry + 17)

    start = segment.to(tl.int64) * length
    q += (batch * q_batch + head * q_head + (start + offset) * q_row) * UNIT
    k += (batch * k_batch + head * k_head + (start + offset) * k_row) * UNIT
    v += (batch * v_batch + head * v_head + (start + offset) * v_row) * UNIT
    wide = rate.to(tl.int64) if WIDE else rate
    q_step, k_step, v_step = wide * q_row * UNIT, wide * k_row * UNIT, wide * v_row * UNIT
    near = tl.arange(0, BLOCK_M)
    rows, limit = first + near, tl.minimum(selected, end)
    q += first * q_step.to(tl.int64)
    asked = load_rows(q, near, q_step, limit - first, HEAD_DIM, WIDTH, True)

    row_step = all_heads * HEAD_DIM
    if IN_PLACE:
        state += (batch * seq_len + start + offset) * row_step + head * HEAD_DIM
        state_step = rate.to(tl.int64) * row_step
    else:
        state += carried * HEAD_DIM
        state_step = tl.full((), HEAD_DIM, tl.int64)
    met = tl.where(begins == 1, 0, limit)
    acc = load_rows(state, rows, state_step, met, HEAD_DIM, WIDTH, True)
    total = tl.where(rows < met, 1.0, 0.0)
    top = tl.load(lse + rows, mask=rows < met, other=float("-inf")) * LOG2_E

    last = last_key
    whole = first_key + (last_key - first_key) // BLOCK_N * BLOCK_N
    if CAUSAL:
        last = tl.minimum(last_key, first + BLOCK_M)
        whole = tl.minimum(whole, first_key + (first - first_key) // BLOCK_N * BLOCK_N)
    acc, total, top = attend(
        acc, total, top, asked, k, v, k_step, v_step, rows, first_key, whole, last_key, scale,
        HEAD_DIM, WIDTH, BLOCK_N, False, False, PRECISION,
    )  # fmt: skip
    if CAUSAL or not EVEN:
        acc, total, top = attend(
            acc, total, top, asked, k, v, k_step, v_step, rows, whole, last, last_key, scale,
            HEAD_DIM, WIDTH, BLOCK_N, CAUSAL, not EVEN, PRECISION,
        )  # fmt: skip

    acc = acc / total[:, None]
    if ends == 1:
        out += (batch * seq_len + start) * row_step + head * HEAD_DIM
        stop = tl.minimum(length, end * rate)
        store_rows(out, acc * mixture, rows, row_step, rate, offset, limit, stop, HEAD_DIM, WIDTH)
    else:
        columns = tl.arange(0, WIDTH)
        at = state + (rows[:, None] * state_step + columns[None, :])
        tl.store(at, acc, mask=(rows < limit)[:, None] & (columns < HEAD_DIM)[None, :])
    tl.store(
        lse + rows, (top + tl.math.log2(total)) * LN_2, mask=(rows < limit) & (KEEP or ends == 0)
    )
