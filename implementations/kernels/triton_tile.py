"""Shared by the Triton kernels: decodes tiles, loads and stores rows and zeros between them."""

from __future__ import annotations

import triton
import triton.language as tl

from ..kernels import tiles

FIELDS: tl.constexpr = tl.constexpr(tiles.FIELDS)
MANY: tl.constexpr = tl.constexpr(tiles.MANY)


@triton.jit
def entry_of(table, tile, PIECES: tl.constexpr, FIELDS: tl.constexpr):
    """The entry of a table, FIELDS numbers each, that a tile belongs to."""
    piece = 0
    for other in tl.static_range(1, PIECES):
        piece += (tile >= tl.load(table + other * FIELDS)).to(tl.int32)
    return table + piece * FIELDS


@triton.jit
def decode(table, tile, batches, PIECES: tl.constexpr, LAST_FIRST: tl.constexpr):
    """Where a tile lies: see `decode_entry`."""
    if PIECES > MANY:
        starts = tl.load(table + tl.arange(0, PIECES) * FIELDS)
        entry = table + (tl.sum((tile >= starts).to(tl.int32), 0) - 1) * FIELDS
    else:
        entry = entry_of(table, tile, PIECES, FIELDS)
    return decode_entry(entry, tile, batches, LAST_FIRST)


@triton.jit
def decode_entry(entry, tile, batches, LAST_FIRST: tl.constexpr):
    """Where a tile of an entry lies.

    Returns:
        rate, offset, selected rows of a segment, segment length; block within the segment, segment,
        batch entry, head; number of the segment's first row in the order of `tiles.compact_rows`.
    """
    local = tile - tl.load(entry)
    length = tl.load(entry + 1)
    rate = tl.load(entry + 2)
    offset = tl.load(entry + 3)
    selected = tl.load(entry + 4)
    first_head = tl.load(entry + 5)
    heads = tl.load(entry + 6)
    blocks = tl.load(entry + 7)
    segments = tl.load(entry + 8)
    block = local % blocks
    if LAST_FIRST:
        block = blocks - 1 - block
    rest = local // blocks
    near = rest % heads
    rest = rest // heads
    segment = rest % segments
    batch = rest // segments
    compact = (
        tl.load(entry + 9).to(tl.int64) * batches + (rest.to(tl.int64) * heads + near) * selected
    )
    return (
        rate,
        offset,
        selected,
        length,
        block,
        segment,
        batch.to(tl.int64),
        (first_head + near).to(tl.int64),
        compact,
    )


@triton.jit
def load_rows(
    base, rows, step, selected, HEAD_DIM: tl.constexpr, WIDTH: tl.constexpr, MASKED: tl.constexpr
):
    """(rows, WIDTH) from rows `step` elements apart; 0 beyond selected rows and HEAD_DIM.

    Offsets have the type of `step`: 32 bits where they suffice spare registers.
    """
    columns = tl.arange(0, WIDTH)
    at = base + (rows[:, None] * step + columns[None, :])
    if MASKED and WIDTH != HEAD_DIM:
        return tl.load(
            at, mask=(rows < selected)[:, None] & (columns < HEAD_DIM)[None, :], other=0.0
        )
    if MASKED:
        return tl.load(at, mask=(rows < selected)[:, None], other=0.0)
    if WIDTH != HEAD_DIM:
        return tl.load(at, mask=(columns < HEAD_DIM)[None, :], other=0.0)
    return tl.load(at)


@triton.jit
def store_rows(
    base,
    values,
    rows,
    row_step,
    rate,
    offset,
    selected,
    length,
    HEAD_DIM: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """Write rows to their positions, zeros between; base is the segment's first position."""
    columns = tl.arange(0, WIDTH)
    positions = rows.to(tl.int64) * rate
    inside = (columns < HEAD_DIM)[None, :]
    at = base + columns[None, :]
    result = values.to(base.dtype.element_ty)
    tl.store(
        at + (positions + offset)[:, None] * row_step,
        result,
        mask=(rows < selected)[:, None] & inside,
    )
    nothing = tl.zeros_like(result)
    for other in range(1, rate):
        between = positions + (offset + other) % rate
        tl.store(
            at + between[:, None] * row_step, nothing, mask=(between < length)[:, None] & inside
        )


@triton.jit
def put_rows(
    base, segment, compact, values, rows, row_step, rate, offset, selected, length,
    HEAD_DIM: tl.constexpr, WIDTH: tl.constexpr, PARTS: tl.constexpr,
):  # fmt: skip
    """Write rows as `store_rows` does into a segment; PARTS: side by side, from `compact` on.

    segment: of its first position; compact: the number of its first row, of `base`.
    """
    if PARTS:
        columns = tl.arange(0, WIDTH)
        at = base + (compact + rows)[:, None] * HEAD_DIM + columns[None, :]
        mask = (rows < selected)[:, None] & (columns < HEAD_DIM)[None, :]
        tl.store(at, values.to(base.dtype.element_ty), mask=mask)
    else:
        store_rows(segment, values, rows, row_step, rate, offset, selected, length, HEAD_DIM, WIDTH)
