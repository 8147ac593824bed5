"""The Triton kernels in Triton's interpreter; `test_triton` runs this file in a process with TRITON_INTERPRET=1."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from implementations import load
from implementations.improved import spec_of
from implementations.kernels.blocks import Blocks
from implementations.kernels.fused import Layout
from implementations.kernels.op import attention_of
from orchestrator.workload import Config
from tests.implementations.problems import built, inputs, laid_out, oracle_gradients, params, relative

SMALL = Blocks(16, 16, 1, 1)
CASES = {
    "uneven groups, rates that divide nothing": {},
    "causal": {"causal": True},
    "causal, keys wider than rows": {"causal": True, "blocks": Blocks(16, 32, 1, 1)},
    "causal, rows wider than keys": {"causal": True, "blocks": Blocks(32, 16, 1, 1)},
    "three branches in any order": {"heads": 7, "segment_lengths": [48, 12, 24], "dilation_rates": [7, 5, 1]},
    "rate of a whole segment": {"heads": 2, "segment_lengths": [6, 16], "dilation_rates": [6, 16]},
    "whole blocks": {"heads": 2, "seq_len": 64, "segment_lengths": [16, 64], "dilation_rates": [1, 2]},
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
    "a full head_dim": {"head_dim": 64, "heads": 2, "batch": 1},
    "float16": {"dtype": "float16", "head_dim": 16},
    "heads first": {"layout": "heads first", "batch": 1},
    "packed": {"layout": "packed", "batch": 1},
    "batch inside": {"layout": "batch inside"},
    "every other feature": {"layout": "every other feature", "batch": 1},
}


@pytest.mark.parametrize("case", CASES)
def test_the_fused_plan(case):
    """Output, zeros and gradients against explicit masks."""
    changes = dict(CASES[case])
    blocks, layout = changes.pop("blocks", SMALL), changes.pop("layout", "contiguous")
    of = params(**changes)
    spec = spec_of(Config(of.model_dump(exclude={"device"}), "cpu", {"plan": "fused"}))
    attention = attention_of(replace(spec, forward=blocks, backward=blocks))
    given = [t.requires_grad_() for t in inputs(of)]
    out = attention(*(laid_out(t, layout) for t in given))
    upstream = torch.randn(out.shape).to(out.dtype)
    found = torch.autograd.grad(out, given, laid_out(upstream, layout))
    truth = oracle_gradients(of, "qkv", tuple(given), upstream)
    bound = 5e-6 if of.dtype == "float32" else 3e-3
    assert relative(out, truth["output"]) < bound
    assert not out[truth["output"].eq(0).all(-1)].any()
    for letter, grad in zip("qkv", found, strict=True):
        assert relative(grad, truth[f"grad_{letter}"]) < 3 * bound, letter


def test_offsets_of_64_bits(monkeypatch):
    """As they are where a block of rows spans more than 2 ** 31 elements."""
    monkeypatch.setattr(Layout, "wide", lambda *_: True)
    test_the_fused_plan("causal")


@pytest.mark.parametrize(
    "changes", [{"seq_len": 24, "segment_lengths": [24]}, {"heads": 3}, {"head_dim": 8}, {"dtype": "float16"}]
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
@pytest.mark.parametrize("changes", [{}, {"mixing": "lse", "batch": 1}, {"dtype": "bfloat16", "causal": True}])
def test_placing_and_merging(name, changes):
    """The plan views, whose results are put into place and merged by kernels wherever Triton runs."""
    of = params(ring_size=3, **changes)
    given = [t.requires_grad_() for t in inputs(of)]
    attention = load(name).build(of, {"plan": "views"}) if name == "improved" else built(name, of)
    out = attention(*given)
    upstream = torch.randn(out.shape).to(out.dtype)
    found = torch.autograd.grad(out, given, upstream)
    truth = oracle_gradients(of, "qkv", tuple(given), upstream)
    bound = 5e-6 if of.dtype == "float32" else 2e-2
    assert relative(out, truth["output"]) < bound
    assert not out[truth["output"].eq(0).all(-1)].any()
    for letter, grad in zip("qkv", found, strict=True):
        assert relative(grad, truth[f"grad_{letter}"]) < 3 * bound, letter
