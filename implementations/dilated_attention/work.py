"""Useful work of one call: operations, bytes, tokens. No torch."""

from __future__ import annotations

from typing import Any

from orchestrator.workload import Work

from .pattern import Pattern

BACKWARD_OF_ATTENTION = 2.5  # five products of the forward's size for its two
BACKWARD_OF_PROJECTION = 2.0
ITEM_BYTES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}


def work(params: Any, form: str) -> Work:
    """The work of one call at these params, the backward pass included if the trial has one.

    Attention does 4 b (n / s) m^2 d operations per head of a branch (causal: 2 b (n / s) m (m + 1)
    d), and 2.5 times that backward. Projections do 8 b n E^2, and twice that backward. What a
    method saves of the projections by leaving out rows that no branch reads still counts as useful;
    `needed_flops` leaves it out.
    """
    backward = params.direction == "forward_backward"
    attention = attention_flops(params) * (1 + BACKWARD_OF_ATTENTION * backward)
    tokens = params.batch * params.seq_len
    if form == "qkv":
        return Work(flops=attention, bytes=_qkv_bytes(params, backward), tokens=tokens)
    embed = params.heads * params.head_dim
    passes = 1 + BACKWARD_OF_PROJECTION * backward
    useful = 8.0 * tokens * embed**2
    needed = 6.0 * covered_rows(params) * params.head_dim * embed + 2.0 * tokens * embed**2
    return Work(
        flops=attention + passes * useful,
        bytes=_multihead_bytes(params, embed, backward),
        tokens=tokens,
        needed_flops=attention + passes * needed,
    )


def attention_flops(params: Any) -> float:
    """Operations of the attention alone, forward."""
    total = 0
    for piece in Pattern.of(params).pieces:
        m, segments = piece.selected, params.seq_len // piece.segment_length
        products = 2 * m * (m + 1) if params.causal else 4 * m * m
        total += params.batch * segments * products * params.head_dim * piece.heads
    return float(total)


def covered_rows(params: Any) -> int:
    """(batch, position, head) rows that take part in at least one branch."""
    pattern = Pattern.of(params)
    return int(params.batch * sum(pattern.covered(run) * run.heads for run in pattern.head_runs))


def _qkv_bytes(params: Any, backward: bool) -> float:
    """q, k and v read where selected, the whole output written; backward: its gradient read, three
    written.
    """
    rows = params.batch * params.seq_len * params.heads
    read, written = (4, 4) if backward else (3, 1)
    return float(
        (read * covered_rows(params) + written * rows) * params.head_dim * _item_bytes(params)
    )


def _multihead_bytes(params: Any, embed: int, backward: bool) -> float:
    """Input and parameters read, output written; backward: its gradient read, those of x and
    parameters written.
    """
    rows, weights = params.batch * params.seq_len * embed, 4 * embed * embed + 6 * embed
    return float(
        (rows * (4 if backward else 2) + weights * (2 if backward else 1)) * _item_bytes(params)
    )


def _item_bytes(params: Any) -> int:
    return ITEM_BYTES[str(params.dtype).removeprefix("torch.")]
