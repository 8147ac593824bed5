"""The pattern's arithmetic and the work it amounts to, against masks counted one by one."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from implementations.dilated_attention import WORKLOAD
from implementations.dilated_attention.pattern import Pattern, group_sizes
from implementations.dilated_attention.work import attention_flops, covered_rows
from implementations.kernels import bound
from implementations.kernels.schedule import Extent, windows
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
                    j * piece.segment_length + start + step * i
                    for j in segments
                    for i in range(piece.selected)
                ]
                assert positions == selected


@given(any_params())
@brief
def test_work_counts_pairs_and_rows(problem):
    """Four operations per pair and feature; a row is read if some branch of its head selects it."""
    masks = oracle.head_masks(problem)
    pairs = sum(int(mask.sum()) for head in masks for mask in head)
    assert attention_flops(problem) == 4 * problem.batch * problem.head_dim * pairs
    rows = sum(
        int(sum(mask.diagonal().int() for mask in head).clamp(max=1).sum()) for head in masks
    )
    assert covered_rows(problem) == problem.batch * rows


def test_backward_and_projections_count_as_stated():
    """Attention 2.5 times more backward, projections twice; unread projections are useful but not
    needed.
    """
    forward, both = params(), params(direction="forward_backward")
    assert WORKLOAD.work(both, "qkv").flops == pytest.approx(
        3.5 * WORKLOAD.work(forward, "qkv").flops
    )
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


@given(of=any_params(), heads=st.integers(1, 3), positions=st.integers(1, 60))
@brief
def test_windows_hold_every_pair_once(of, heads, positions):
    """In blocks and windows of any size the parts make up exactly the pairs of the masks, each by
    one call.
    """
    block = -(-of.seq_len // of.ring_size)
    pattern = Pattern.of(of)
    found = [[mask.int() * 0 for mask in head] for head in oracle.head_masks(of)]
    for window in windows(
        pattern, block, of.causal, [Extent(heads, positions)] * len(pattern.head_runs)
    ):
        for group in window.groups:
            met: set[tuple[int, int]] = set()
            for part in group:
                assert not part.causal or part.rows == part.keys
                rows = {(part.segments[0], row) for row in range(*part.rows)}
                assert part.begins == (not rows & met)
                assert part.begins or rows <= met
                met |= rows
                _count(part, window, found, of.mixing)
    for counted, head in zip(found, oracle.head_masks(of), strict=True):
        for counts, mask in zip(counted, head, strict=True):
            assert counts.equal(mask.int())


def _count(part, window, found, mixing):
    """Add the pairs of a part; its rows lie in the window."""
    rows, keys = (
        [part.piece.offset + part.piece.rate * i for i in range(*span)]
        for span in (part.rows, part.keys)
    )
    for segment in range(*part.segments):
        start = segment * part.piece.segment_length
        assert window.first <= start + rows[0]
        assert start + rows[-1] < window.last
        for head in range(part.piece.first_head, part.piece.last_head):
            counts = found[head][part.piece.branch if mixing == "lse" else 0]
            for row in rows:
                for key in keys:
                    counts[start + row, start + key] += not part.causal or key <= row


def test_few_calls_in_blocks():
    """Of segments n/4, n/2, n in four blocks: 1, 2 and 4 calls, not one for each pair of blocks."""
    pattern = Pattern(4096, 8, (1024, 2048, 4096), (1, 2, 4))
    assert [len(window.parts) for window in windows(pattern, 1024, False)] == [1, 2, 4]


@pytest.mark.parametrize("lengths", [(1024, 2048, 4096), (4096,)])
@pytest.mark.parametrize("heads", [3, 8])
@pytest.mark.parametrize("mixing", ["head_groups", "lse"])
@pytest.mark.parametrize("item", [2, 4])
def test_windows_stay_within_the_bound(lengths, heads, mixing, item):
    """What a window holds, counted from its parts, is at most the bound; no window is cut in vain."""
    pattern = Pattern(4096, heads, lengths, (1, 2, 4)[: len(lengths)], mixing)
    whole = windows(pattern, 1024, False)
    allowed = 0.15 * 4 * 4096 * heads * item
    extents = bound.extents(whole, pattern, item, fused=True)
    for window in windows(pattern, 1024, False, extents):
        assert _held(window, item) <= allowed
    for window, extent in zip(whole, extents, strict=True):
        cut = (extent.heads, extent.positions) != (window.heads, 4096)
        assert cut == (_held(window, item) > allowed)


def _held(window, item):
    """Bytes per feature that the window's calls hold: one result, and what it is merged with."""
    if window.mixed:
        results = max(
            (part.rows[1] - part.rows[0]) * (part.segments[1] - part.segments[0])
            for part in window.parts
        )
        return window.heads * (results * item + (window.last - window.first) * 4 * (item < 4))
    found = []
    for group in window.groups:
        rows = (group[0].rows[1] - group[0].rows[0]) * (group[0].segments[1] - group[0].segments[0])
        each = {1: item, 2: 2 * item}.get(len(group), 4 + item)
        found.append(rows * window.heads * each)
    return max(found)


def test_lanes_hold_no_more_than_allowed():
    """The largest task of each lane, summed; where there is room for no further lane, the least
    busy one.
    """
    assert bound.assigned([3, 3, 1], [5, 4, 4], allowed=5, most=4) == (0, 0, 1)
    assert bound.assigned([3, 3, 1], [5, 4, 4], allowed=7, most=4) == (0, 1, 2)
    assert bound.assigned([3, 3, 1], [5, 4, 4], allowed=7, most=1) == (0, 0, 0)
    assert bound.assigned([9], [1], allowed=5, most=4) == (0,)
