"""The pattern's arithmetic and the work it amounts to, against masks counted one by one."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from implementations.dilated_attention import WORKLOAD
from implementations.dilated_attention.pattern import Pattern, group_sizes
from implementations.dilated_attention.work import attention_flops, covered_rows
from implementations.kernels.schedule import windows
from tests.implementations import oracle
from tests.implementations.problems import any_params, params

brief = settings(max_examples=30, deadline=None)


def test_spare_heads_go_to_the_first_groups():
    """12 heads in 5 groups: every head in one group, none in two."""
    assert group_sizes(12, 5) == (3, 3, 2, 2, 2)


@given(any_params())
@brief
def test_pieces_cover_each_head_as_the_definition_says(problem):
    """Selected counts and offsets agree with the explicit masks."""
    masks = oracle.head_masks(problem)
    for run in Pattern.of(problem).head_runs:
        for head in range(run.first_head, run.last_head):
            assert len(run.pieces) == len(masks[head])
            for piece, mask in zip(run.pieces, masks[head], strict=True):
                selected = mask.diagonal().nonzero().flatten().tolist()
                segments = range(problem.seq_len // piece.segment_length)
                start, step = piece.offset, piece.rate
                positions = [
                    j * piece.segment_length + start + step * i for j in segments for i in range(piece.selected)
                ]
                assert positions == selected


@given(any_params())
@brief
def test_work_counts_pairs_and_rows(problem):
    """Four operations per pair and feature; a row is read if some branch of its head selects it."""
    masks = oracle.head_masks(problem)
    pairs = sum(int(mask.sum()) for head in masks for mask in head)
    assert attention_flops(problem) == 4 * problem.batch * problem.head_dim * pairs
    rows = sum(int(sum(mask.diagonal().int() for mask in head).clamp(max=1).sum()) for head in masks)
    assert covered_rows(problem) == problem.batch * rows


def test_backward_and_projections_count_as_stated():
    """Attention 2.5 times more backward, projections twice; unread projections are useful but not needed."""
    forward, both = params(), params(direction="forward_backward")
    assert WORKLOAD.work(both, "qkv").flops == pytest.approx(3.5 * WORKLOAD.work(forward, "qkv").flops)
    embed, tokens = 5 * 4, 2 * 48
    projections = WORKLOAD.work(forward, "multihead").flops - WORKLOAD.work(forward, "qkv").flops
    assert projections == 8 * tokens * embed**2
    needed = WORKLOAD.work(forward, "multihead").needed_flops
    assert needed is not None
    assert needed < WORKLOAD.work(forward, "multihead").flops
    assert WORKLOAD.work(forward, "qkv").tokens == tokens


def test_bytes_of_the_forward():
    """q, k and v where selected, the output whole."""
    dense = params(segment_lengths=[48], dilation_rates=[1], dtype="bfloat16")
    assert WORKLOAD.work(dense, "qkv").bytes == 4 * 2 * 48 * 5 * 4 * 2


@given(any_params())
@brief
def test_windows_hold_every_pair_once(problem):
    """In blocks of any size the parts make up exactly the pairs of the masks."""
    block = -(-problem.seq_len // problem.ring_size)
    found = [[mask.int() * 0 for mask in head] for head in oracle.head_masks(problem)]
    for window in windows(Pattern.of(problem), block, problem.causal):
        for part in window.parts:
            rows, keys = (
                [part.piece.offset + part.piece.rate * i for i in range(*span)] for span in (part.rows, part.keys)
            )
            for segment in range(*part.segments):
                start = segment * part.piece.segment_length
                assert window.first <= start + rows[0]
                assert start + rows[-1] < window.last
                for head in range(part.piece.first_head, part.piece.last_head):
                    counts = found[head][part.piece.branch if problem.mixing == "lse" else 0]
                    for row in rows:
                        for key in keys:
                            counts[start + row, start + key] += not part.causal or key <= row
    for counted, head in zip(found, oracle.head_masks(problem), strict=True):
        for counts, mask in zip(counted, head, strict=True):
            assert counts.equal(mask.int())
