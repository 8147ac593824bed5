"""ring_v2 over ranks: several processes with gloo against the oracle by masks, and how ranks share
the work.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from implementations.dilated_attention.pattern import Pattern
from implementations.kernels.online import has_triton
from implementations.kernels.ring_shares import Shares, groups_of, is_local
from tests.implementations.problems import TOLERANCE, params

# Segments within a rank, shared by some and by all; rates that divide nothing; more ranks than
# selected rows.
CASES = [
    {"seq_len": 48, "segment_lengths": [12, 48], "dilation_rates": [5, 7]},
    {"seq_len": 48, "segment_lengths": [12, 48], "dilation_rates": [5, 7], "causal": True},
    {"seq_len": 48, "segment_lengths": [12, 48], "dilation_rates": [5, 7], "mixing": "lse"},
    {
        "seq_len": 48,
        "segment_lengths": [12, 24, 48],
        "dilation_rates": [1, 2, 4],
        "mixing": "lse",
        "causal": True,
    },
    {
        "seq_len": 48,
        "segment_lengths": [12, 24, 48],
        "dilation_rates": [1, 2, 4],
        "causal": True,
        "head_dim": 8,
    },
    {
        "seq_len": 48,
        "segment_lengths": [16, 48],
        "dilation_rates": [3, 47],
        "causal": True,
        "batch": 1,
    },
    {
        "seq_len": 48,
        "segment_lengths": [16, 48],
        "dilation_rates": [3, 47],
        "mixing": "lse",
        "batch": 1,
    },
]
HALF = [{**CASES[4], "dtype": "bfloat16"}, {**CASES[3], "dtype": "float16"}]


def named(errors: dict[str, float], dtype: str) -> dict[str, float]:
    """Those beyond what the dtype allows; gradients are sums and allowed twice as much."""
    return {name: error for name, error in errors.items() if not error <= 2 * TOLERANCE[dtype]}


@pytest.mark.parametrize("world_size", [2, 3, 4])
def test_each_rank_has_its_share_of_the_right_answer(world_size, tmp_path):
    """Output and gradients of every rank, both mixings, causal or not, segments local or shared."""
    assert wrong_of(CASES + (HALF if world_size == 2 else []), world_size, tmp_path) == []


@pytest.mark.skipif(not has_triton(), reason="needs Triton")
def test_kernels_of_our_own_put_results_into_their_place(tmp_path):
    """As on a GPU, in Triton's interpreter: between the rows of a local piece are zeros, and none is
    written over.
    """
    cases = [CASES[0], {**CASES[4], "head_dim": 8}, CASES[3], CASES[5], CASES[6]]
    assert wrong_of(cases, 2, tmp_path, TRITON_INTERPRET="1") == []


def wrong_of(cases, world_size, tmp_path, **environment):
    """The cases of which a rank has a wrong share, each with the errors."""
    command = [sys.executable, "-m", "tests.implementations.sharded_program"]
    arguments = [str(world_size), str(tmp_path / "store"), json.dumps(cases)]
    done = subprocess.run(
        [*command, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    wrong = []
    for case, errors in zip(cases, json.loads(done.stdout), strict=True):
        if bad := named(errors, case.get("dtype", "float32")):
            wrong.append((case, bad))
    return wrong


@pytest.mark.parametrize("ranks", [2, 4, 8])
def test_causal_work_is_the_same_on_every_rank(ranks):
    """Zigzag: the pairs of rows and keys that ranks compute differ by no more than rounding of
    their chunks.
    """
    n = 128 * ranks
    piece = Pattern(n, 1, (n,), (2,)).pieces[0]
    shares = Shares(piece, n // ranks, range(ranks), causal=True)
    works = []
    for member in range(ranks):
        spans = shares.computed(member)
        works.append(sum(row + 1 for span in spans for row in range(span.first, span.last)))
    assert max(works) <= 1.001 * min(works)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(
    ("length", "rate", "ranks"), [(24, 5, 3), (12, 7, 3), (48, 47, 4), (16, 3, 4), (48, 1, 2)]
)
def test_every_selected_row_is_computed_once(causal, length, rate, ranks):
    """Rows computed by all ranks are the selected ones, none twice; so are those that are sent."""
    piece = Pattern(48, 1, (length,), (rate,)).pieces[0]
    shares = Shares(piece, 48 // ranks, range(ranks), causal)
    rows = [
        span.segment * piece.selected + row
        for member in range(ranks)
        for span in shares.computed(member)
        for row in range(span.first, span.last)
    ]
    assert sorted(rows) == list(range(shares.rows))
    assert sum(len(rows) for member in range(ranks) for rows in shares.sent(member)) == shares.rows


def test_segments_within_a_rank_are_shared_with_nobody_and_others_with_as_few_as_hold_them():
    """Four ranks of 16 positions: segments of 8 and 16 are local, those of 32 are shared by pairs,
    of 64 by all.
    """
    pieces = Pattern(64, 4, (8, 16, 32, 64), (1, 1, 1, 1)).pieces
    assert [is_local(piece, 16) for piece in pieces] == [True, True, False, False]
    assert groups_of(pieces[2], 16, 4) == [range(2), range(2, 4)]
    assert groups_of(pieces[3], 16, 4) == [range(4)]


def test_a_world_size_that_does_not_divide_the_sequence_is_refused():
    """By name, by `plan` already."""
    with pytest.raises(ValueError, match="world_size must divide seq_len: 5 does not divide 48"):
        params(seq_len=48, segment_lengths=[48], dilation_rates=[1], world_size=5)
