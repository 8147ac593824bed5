"""The Triton kernels in Triton's interpreter; `test_triton` runs this file in a process with
TRITON_INTERPRET=1.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from implementations import load, ring
from implementations.improved import spec_of
from implementations.kernels import bound, op, schedule
from implementations.kernels.blocks import Blocks
from implementations.kernels.fused import Layout
from implementations.kernels.op import attention_of
from orchestrator.workload import Config
from tests.implementations import oracle
from tests.implementations.problems import (
    Sizes,
    any_params,
    built,
    inputs,
    laid_out,
    oracle_gradients,
    params,
    relative,
)

SMALL = Blocks(16, 16, 1, 1)
# A batch of one, where it is not stated: the interpreter takes its time for every block.
CASES = {
    "uneven groups, rates that divide nothing": {"batch": 2},
    "causal": {"causal": True},
    "causal, keys wider than rows": {"causal": True, "blocks": Blocks(16, 32, 1, 1)},
    "causal, rows wider than keys": {"causal": True, "blocks": Blocks(32, 16, 1, 1)},
    "three branches in any order": {
        "heads": 7,
        "segment_lengths": [48, 12, 24],
        "dilation_rates": [7, 5, 1],
    },
    "rate of a whole segment": {"heads": 2, "segment_lengths": [6, 16], "dilation_rates": [6, 16]},
    "whole blocks": {
        "heads": 2,
        "seq_len": 64,
        "segment_lengths": [16, 64],
        "dilation_rates": [1, 2],
    },
    "whole blocks, causal": {
        "heads": 2,
        "seq_len": 64,
        "segment_lengths": [32, 64],
        "dilation_rates": [1, 2],
        "causal": True,
    },
    "dense": {"heads": 1, "segment_lengths": [48], "dilation_rates": [1]},
    "one position": {"heads": 1, "seq_len": 1, "segment_lengths": [1], "dilation_rates": [1]},
    "an odd head_dim": {"head_dim": 20},
    "a full head_dim": {"head_dim": 64, "heads": 2},
    "float16": {"dtype": "float16", "head_dim": 16},
    "heads first": {"layout": "heads first"},
    "packed": {"layout": "packed"},
    "batch inside": {"layout": "batch inside", "batch": 2},
    "every other feature": {"layout": "every other feature"},
    "rows at odd multiples of eight": {"layout": "packed", "head_dim": 24, "heads": 3},
    "rows at odd positions": {"layout": "batch inside", "batch": 3, "head_dim": 5, "heads": 3},
}


@pytest.mark.parametrize("case", CASES)
def test_the_fused_plan(case):
    """Output, zeros and gradients against explicit masks."""
    check_fused({"batch": 1} | CASES[case])


def check_fused(changes):
    """The plan fused for params with these changes, which may name the kernels' blocks and layout."""
    changes = dict(changes)
    blocks, layout = changes.pop("blocks", SMALL), changes.pop("layout", "contiguous")
    of = params(**changes)
    spec = spec_of(Config(of.model_dump(exclude={"device"}), "cpu", {"plan": "fused"}))
    attention = attention_of(replace(spec, forward=blocks, backward=blocks))
    check_against_masks(of, attention, layout, 5e-6 if of.dtype == "float32" else 3e-3)


# Heads that take every branch; three of them, where it is not stated.
LSE = {
    "rates that divide nothing, positions of nobody": {},
    "causal": {"causal": True, "segment_lengths": [48, 24, 12], "dilation_rates": [1, 3, 5]},
    "causal, keys wider than rows": {"causal": True, "blocks": Blocks(16, 32, 1, 1)},
    "causal, rows wider than keys": {"causal": True, "blocks": Blocks(32, 16, 1, 1)},
    "offsets of uneven heads": {"heads": 5, "segment_lengths": [24, 48], "dilation_rates": [1, 3]},
    "more pieces than are met one by one": {
        "heads": 16,
        "segment_lengths": [16, 16],
        "dilation_rates": [1, 16],
        "seq_len": 16,
    },
    "rate of a whole segment": {"heads": 1, "segment_lengths": [6, 16], "dilation_rates": [6, 16]},
    "whole blocks": {
        "heads": 1,
        "seq_len": 64,
        "segment_lengths": [16, 64],
        "dilation_rates": [1, 2],
    },
    "one branch": {"heads": 2, "segment_lengths": [24], "dilation_rates": [2], "seq_len": 24},
    "branches that are alike": {"heads": 1, "segment_lengths": [24, 24], "dilation_rates": [2, 2]},
    "float16, an odd head_dim": {"dtype": "float16", "head_dim": 20, "heads": 2},
    "a full head_dim": {"head_dim": 64, "heads": 1},
    "packed": {"layout": "packed", "heads": 1},
    "batch inside, heads that share an offset": {
        "layout": "batch inside",
        "batch": 2,
        "heads": 3,
        "seq_len": 24,
        "segment_lengths": [12, 24],
        "dilation_rates": [5, 2],
    },
    "every other feature": {"layout": "every other feature", "heads": 1},
}


@pytest.mark.parametrize("case", LSE)
def test_the_fused_plan_of_lse(case):
    """Each piece's rows apart, then merged; the gradients likewise: against explicit masks."""
    check_fused({"batch": 1, "heads": 3, "mixing": "lse"} | LSE[case])


@given(
    of=any_params(longest=24, most_heads=3, mixing="lse", batch=1),
    half=st.booleans(),
)
@settings(max_examples=2, deadline=None)
def test_the_fused_plan_of_lse_for_any_shape(of, half):
    """Branches in any order, of any rates."""
    changes = {"dtype": "float16" if half else "float32"}
    check_fused(of.model_copy(update=changes).model_dump())


@pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered")
@pytest.mark.parametrize("apart", [8.0, -8.0])
def test_branches_of_lse_whose_scores_are_all_large(apart):
    """Scores of -130 and of 130: what is merged are log-sum-exps, never sums."""
    of = params(batch=1, heads=2, mixing="lse", segment_lengths=[48, 12], dilation_rates=[3, 1])
    attention = load("improved").build(of, {"plan": "fused"})
    check_against_masks(of, attention, "contiguous", 1e-4, apart=apart)


def test_offsets_of_64_bits_of_lse(monkeypatch):
    """As they are where a block of rows spans more than 2 ** 31 elements."""
    monkeypatch.setattr(Layout, "wide", lambda *_: True)
    test_the_fused_plan_of_lse("causal, keys wider than rows")


# in rows that are nobody's and not stored
@pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered")
@pytest.mark.parametrize("plan", ["fused", "views"])
@pytest.mark.parametrize(
    "case", ["uneven groups, rates that divide nothing", "rate of a whole segment", "causal"]
)
def test_scores_that_are_all_very_negative(case, plan):
    """What is not there weighs nothing, although e to the power of 0 - (-130) is not a number of
    float32.
    """
    of = params(**({"batch": 1} | CASES[case]))
    attention = load("improved").build(of, {"plan": plan})
    # scores of 130 are rounded to 1e-5
    check_against_masks(of, attention, "contiguous", 1e-4, apart=8.0)


@pytest.mark.parametrize("changes", [{}, {"causal": True, "matmul_precision": "tf32"}])
def test_projections_where_a_branch_reads_them(changes):
    """multihead_improved, its branches in float32 by the fused kernel: output and all gradients."""
    of = params(heads=4, head_dim=8, segment_lengths=[24, 48], dilation_rates=[1, 2], **changes)
    (x,) = (t.requires_grad_() for t in inputs(of, "multihead"))
    layer = built("multihead_improved", of)
    upstream = torch.randn(x.shape)
    truth = oracle_gradients(of, "multihead", (x,), upstream)
    out = layer(x)
    assert layer._plan.kernel(tuple(torch.empty(1, 4, 24, 8) for _ in "qkv")).name == "fused"
    limit = 5e-6 if of.matmul_precision == "ieee" else 2e-3
    assert relative(out, truth["output"]) < 4 * limit
    names = ["x", *(name for name, _ in layer.named_parameters())]
    for name, grad in zip(
        names, torch.autograd.grad(out, [x, *layer.parameters()], upstream), strict=True
    ):
        if name != "k_proj.bias":  # 0 but for rounding
            assert relative(grad, truth[f"grad_{name}"]) < 20 * limit, name


def check_against_masks(of, attention, layout, limit, apart=0.0):
    """Output, zeros and gradients; the output also where no gradient is wanted, for which less is
    kept.

    `apart`: how far q lies above 0 and k below it in every feature.
    """
    q, k, v = inputs(of)
    given_inputs = [t.requires_grad_() for t in (q + apart, k - apart, v)]
    out = attention(*(laid_out(t, layout) for t in given_inputs))
    with torch.no_grad():
        assert attention(*(laid_out(t, layout) for t in given_inputs)).equal(out)
    upstream = torch.randn(out.shape).to(out.dtype)
    found = torch.autograd.grad(out, given_inputs, laid_out(upstream, layout))
    truth = oracle_gradients(of, "qkv", tuple(given_inputs), upstream)
    assert relative(out, truth["output"]) < limit
    assert not out[truth["output"].eq(0).all(-1)].any()
    for letter, grad in zip("qkv", found, strict=True):
        assert relative(grad, truth[f"grad_{letter}"]) < 3 * limit, letter


RINGS = {
    "uneven groups, rates that divide nothing": {"batch": 2},
    "causal": {"causal": True},
    "causal, keys wider than rows": {"causal": True, "blocks": Blocks(16, 32, 1, 1)},
    "causal, rows wider than keys": {"causal": True, "blocks": Blocks(32, 16, 1, 1)},
    "segments across borders": {
        "seq_len": 96,
        "segment_lengths": [48, 32],
        "dilation_rates": [1, 3],
        "ring_size": 5,
    },
    "segments across borders, causal": {
        "seq_len": 96,
        "segment_lengths": [48, 32],
        "dilation_rates": [1, 3],
        "ring_size": 5,
        "causal": True,
    },
    "many blocks": {
        "seq_len": 60,
        "segment_lengths": [60, 20],
        "dilation_rates": [1, 9],
        "ring_size": 9,
    },
    "whole blocks": {
        "heads": 2,
        "seq_len": 64,
        "segment_lengths": [16, 64],
        "dilation_rates": [1, 2],
        "ring_size": 2,
    },
    "whole blocks, causal": {
        "heads": 2,
        "seq_len": 128,
        "segment_lengths": [32, 128],
        "dilation_rates": [1, 2],
        "ring_size": 4,
        "causal": True,
    },
    "all within blocks": {
        "segment_lengths": [6, 12],
        "dilation_rates": [1, 5],
        "ring_size": 4,
    },
    "rate of a whole segment": {"heads": 2, "segment_lengths": [6, 16], "dilation_rates": [6, 16]},
    "float16": {
        "dtype": "float16",
        "head_dim": 16,
        "seq_len": 96,
        "segment_lengths": [24, 96],
    },
    "float16, causal, an odd head_dim": {
        "dtype": "float16",
        "head_dim": 20,
        "causal": True,
        "dilation_rates": [1, 1],
    },
    "float16, within blocks": {
        "batch": 2,
        "dtype": "float16",
        "head_dim": 16,
        "segment_lengths": [12, 24],
        "ring_size": 2,
    },
    "float16, heads first": {"dtype": "float16", "layout": "heads first", "dilation_rates": [2, 1]},
    "packed": {"layout": "packed", "dilation_rates": [2, 1]},
    "every other feature": {"layout": "every other feature", "ring_size": 2},
}


@pytest.mark.parametrize(
    ("case", "share"),
    [(case, bound.SHARE) for case in RINGS]
    + [(case, 0.03) for case in RINGS if case.startswith("float16")],
)
def test_the_ring_by_launches(monkeypatch, case, share):
    """Output, zeros and gradients against explicit masks; with little room in several windows of
    rows too.
    """
    monkeypatch.setattr(bound, "SHARE", share)
    monkeypatch.setattr(schedule, "UNIT", 1)
    changes = {"batch": 1, "ring_size": 3} | RINGS[case]
    blocks, layout = changes.pop("blocks", SMALL), changes.pop("layout", "contiguous")
    check_ring(params(**changes), blocks, layout)


@given(
    of=any_params(longest=32, most_heads=4, mixing="head_groups", batch=1),
    ring_size=st.integers(2, 6),
    half=st.booleans(),
    share=st.sampled_from([bound.SHARE, 0.04]),
)
@settings(max_examples=8, deadline=None)
def test_the_ring_by_launches_for_any_shape(of, ring_size, half, share):
    """Blocks of any size, branches in any order."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bound, "SHARE", share)
        patch.setattr(schedule, "UNIT", 1)
        changes = {"dtype": "float16" if half else "float32", "ring_size": ring_size}
        check_ring(of.model_copy(update=changes), SMALL, "contiguous")


def check_ring(of, blocks, layout):
    """The plan fused with keys in blocks, of these blocks of the kernels."""
    spec = ring.spec_of(Config(of.model_dump(exclude={"device"}), "cpu", {"plan": "fused"}))
    spec = replace(spec, forward=blocks, backward=blocks)
    op._plan.cache_clear()  # its layouts hold tables for another bound
    check_against_masks(of, attention_of(spec), layout, 5e-6 if of.dtype == "float32" else 3e-3)


def test_the_ring_as_an_operator():
    """Which a compiled graph calls: the answer and the gradients of the eager call."""
    of = params(batch=1, ring_size=3, causal=True)
    spec = replace(
        ring.spec_of(Config(of.model_dump(exclude={"device"}), "cpu", {"plan": "fused"})),
        forward=SMALL,
    )
    given_inputs = [t.requires_grad_() for t in inputs(of)]
    eager = attention_of(spec)(*given_inputs)
    out = torch.ops.dilated_attention.forward(*given_inputs, spec.text())[0]
    upstream = torch.randn(out.shape)
    assert out.equal(eager)
    for ours, right in zip(
        torch.autograd.grad(out, given_inputs, upstream),
        torch.autograd.grad(eager, given_inputs, upstream),
        strict=True,
    ):
        assert ours.equal(right)


@pytest.mark.parametrize(("lengths", "several"), [([96], True), ([24, 48, 96], False)])
def test_the_ring_holds_no_more_than_its_bound(lengths, several):
    """Where all rows cross blocks several windows of rows; where few do, one."""
    of = params(seq_len=96, heads=4, head_dim=64, batch=1, dtype="float16", ring_size=4,
                segment_lengths=lengths, dilation_rates=[1, 2, 4][: len(lengths)])  # fmt: skip
    spec = ring.spec_of(Config(of.model_dump(exclude={"device"}), "cpu", {"plan": "fused"}))
    spec, given_inputs = replace(spec, forward=SMALL, backward=SMALL), inputs(of)
    attention = attention_of(spec)
    launches = op._plan(spec.text()).layout(*given_inputs).steps.counts
    assert (len(launches) > 4) == several
    with Sizes() as sizes:
        out = attention(*given_inputs)
    largest, state, sums, *_ = sorted(sizes.bytes, reverse=True)
    assert largest == out.nbytes
    assert state + sums <= 0.15 * 4 * out.nbytes
    assert relative(out, oracle.attention(of, *(t.double() for t in given_inputs))) < 3e-3


def test_offsets_of_64_bits_in_blocks(monkeypatch):
    """As they are where a block of rows spans more than 2 ** 31 elements."""
    monkeypatch.setattr(Layout, "wide", lambda *_: True)
    test_the_ring_by_launches(monkeypatch, "causal", bound.SHARE)


def test_offsets_of_64_bits(monkeypatch):
    """As they are where a block of rows spans more than 2 ** 31 elements."""
    monkeypatch.setattr(Layout, "wide", lambda *_: True)
    test_the_fused_plan("causal")


@pytest.mark.parametrize(
    "changes",
    [{"seq_len": 24, "segment_lengths": [24]}, {"heads": 3}, {"head_dim": 8}, {"dtype": "float16"}],
)
def test_other_inputs_than_it_was_built_for_are_refused(changes):
    """Before anything is read from where nothing is."""
    of = params(segment_lengths=[48], dilation_rates=[1])
    attention = load("improved").build(of, {"plan": "fused"})
    q, _, v = inputs(of)
    other = inputs(params(**({"segment_lengths": [48], "dilation_rates": [1]} | changes)))
    with pytest.raises(ValueError, match=r"built for|one shape and dtype"):
        attention(q, other[1], v)
    if "dtype" not in changes:
        with pytest.raises(ValueError, match="built for"):
            attention(*other)


@pytest.mark.parametrize("name", ["improved", "ring_v2"])
@pytest.mark.parametrize("share", [bound.SHARE, 0.03])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"batch": 1, "ring_size": 2, "dtype": "float16"},
        {"batch": 1, "mixing": "lse"},
        {"batch": 1, "dtype": "bfloat16", "causal": True},
        {
            "batch": 1,
            "seq_len": 96,
            "segment_lengths": [32, 48],
            "dilation_rates": [1, 3],
            "ring_size": 5,
            "causal": True,
        },
    ],
)
def test_placing_and_merging(monkeypatch, name, changes, share):
    """The plan views, whose results are put into place and merged by kernels wherever Triton runs."""
    monkeypatch.setattr(bound, "SHARE", share)
    monkeypatch.setattr(schedule, "UNIT", 1)
    op._plan.cache_clear()
    of = params(**({"ring_size": 3} | changes))
    check_against_masks(
        of,
        load(name).build(of, {"plan": "views"}),
        "contiguous",
        5e-6 if of.dtype == "float32" else 2e-2,
    )
