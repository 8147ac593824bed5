"""The reference, which defines what is right, against explicit masks."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings

from implementations.dilated_attention import WORKLOAD, softmax
from orchestrator.workload import Expected
from tests.implementations.problems import (
    Sizes,
    any_params,
    expected_error,
    inputs,
    oracle_gradients,
    params,
    problem,
)

brief = settings(max_examples=15, deadline=None)


def answers(of, form, **changes):
    """The reference with an upstream gradient as the harness draws it, and the oracle's whole
    truth.
    """
    asked = problem(of, form, **changes)
    assert WORKLOAD.upstream is not None
    upstream = WORKLOAD.upstream(asked, tuple(asked.inputs[0].shape))
    return WORKLOAD.reference(replace(asked, upstream=upstream)), oracle_gradients(
        of, form, asked.inputs, upstream
    )


@given(any_params(direction="forward_backward"))
@brief
def test_output_and_gradients_are_those_of_the_masks(of):
    """To float64's precision, whole."""
    found, truth = answers(of, "qkv")
    assert {"output", "grad_v"} <= set(found) <= set(truth)
    for name, answer in found.items():
        assert expected_error(answer, truth[name]) < 1e-12, name


@given(any_params(direction="forward_backward"))
@settings(max_examples=6, deadline=None)
def test_multihead_gradients_reach_every_parameter(of):
    """Projections, norm and output projection included; the bias of k_proj has no slope."""
    found, truth = answers(of, "multihead")
    assert "grad_k_proj.bias" not in found
    assert {
        "output",
        "grad_x",
        "grad_v_proj.weight",
        "grad_norm.weight",
        "grad_out_proj.bias",
    } <= set(found)
    for name, answer in found.items():
        assert expected_error(answer, truth[name]) < 1e-9, name


@pytest.mark.parametrize("form", ["qkv", "multihead"])
@pytest.mark.parametrize("mixing", ["head_groups", "lse"])
def test_sampled_rows_are_the_rows_of_the_whole(form, mixing):
    """Beyond max_flops only some rows are answered for, with the same answer, and gradients of
    those rows alone.
    """
    of = params(
        seq_len=1920,
        segment_lengths=[96, 1920],
        mixing=mixing,
        direction="forward_backward",
        batch=1,
    )
    found, truth = answers(of, form, max_flops=0)
    for name, answer in found.items():
        assert expected_error(answer, truth[name]) < 1e-9, name
    assert len(found["output"].values) < truth["output"].shape[:-1].numel() / 4


def test_a_sample_reaches_every_batch_entry_head_and_the_edges():
    """First and last position of the sequence included."""
    of = params(seq_len=2400, segment_lengths=[60, 2400], dilation_rates=[1, 1])
    answer = WORKLOAD.reference(problem(of, max_flops=0))
    batch, position, head = answer.index
    pairs = {(int(b), int(h)) for b, h in zip(batch, head, strict=True)}
    assert pairs == {(b, h) for b in range(2) for h in range(5)}
    assert {0, 2399} <= set(position.tolist())


def test_rows_in_no_branch_are_exactly_zero():
    """And are asked for everywhere, also when rows are sampled."""
    of = params()
    for max_flops in (0, 1e30):
        answer = WORKLOAD.reference(problem(of, max_flops=max_flops))
        assert answer.zeros is not None
        covered = (~answer.zeros).sum() * of.batch
        assert len(answer.values) <= covered
        assert max_flops == 0 or len(answer.values) == covered


def test_blocks_separate_batch_entries_heads_and_segments():
    """One wrong head of one segment is a block of its own."""
    of = params(segment_lengths=[12, 24], dilation_rates=[1, 1])
    answer = WORKLOAD.reference(problem(of))
    assert isinstance(answer, Expected)
    assert answer.block is not None
    assert len(answer.block.unique()) == 2 * (3 * 4 + 2 * 2)


def test_the_yardstick_errs_as_its_dtype_does():
    """In bfloat16 by a rounding's worth; never by nothing, never by much."""
    of = params(dtype="bfloat16", seq_len=192, segment_lengths=[48, 192])
    right, plain = (
        WORKLOAD.reference(problem(of, dtype=dtype)) for dtype in (torch.float64, torch.bfloat16)
    )
    error = (plain.values.double() - right.values).norm() / right.values.norm()
    assert 1e-4 < float(error) < 1e-2


def test_no_tensor_grows_with_the_square_of_the_sequence(monkeypatch):
    """One dense segment of 4096 positions: its scores would be 134 MB, the reference holds a tile
    of them.
    """
    monkeypatch.setattr(softmax, "TILE", 2**18)
    of = params(
        batch=1, seq_len=4096, heads=1, head_dim=2, segment_lengths=[4096], dilation_rates=[1]
    )
    with Sizes() as sizes:
        WORKLOAD.reference(problem(of))
    assert max(sizes.bytes) <= 2**18 * 8


def test_inputs_are_seeded_normal_and_of_unit_variance():
    """Same seed, same tensors; another seed, others."""
    of = params(seq_len=480, segment_lengths=[480, 240])
    first, again, other = inputs(of, seed=3), inputs(of, seed=3), inputs(of, seed=4)
    assert all(a.equal(b) for a, b in zip(first, again, strict=True))
    assert not first[0].equal(other[0])
    assert not first[0].equal(first[1])
    assert float(first[0].std()) == pytest.approx(1, abs=0.02)
