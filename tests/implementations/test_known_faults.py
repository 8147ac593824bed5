"""Faults seen in other implementations of dilated attention: each must show in the reference, and
none is ours.
"""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from implementations import IMPLEMENTATIONS
from implementations.dilated_attention import WORKLOAD
from implementations.dilated_attention.pattern import Pattern
from tests.implementations import oracle
from tests.implementations.problems import QKV, built, inputs, params, problem, relative


def test_attention_across_heads_is_far_off():
    """Without the transpose to (b, heads, n, d) positions attend to nothing but their own heads."""
    of = params(
        batch=1, seq_len=1024, heads=8, head_dim=16, segment_lengths=[1024], dilation_rates=[1]
    )
    q, k, v = inputs(of)
    answer = WORKLOAD.reference(problem(of))
    wrong = scaled_dot_product_attention(q, k, v)
    assert relative(wrong[answer.index], answer.values) > 5
    assert relative(built("improved", of)(q, k, v)[answer.index], answer.values) < 5e-6


@pytest.mark.parametrize("name", QKV)
def test_heads_do_not_mix(name):
    """Other keys and values for one head change that head alone."""
    of = params(ring_size=3)
    q, k, v = inputs(of)
    other_k, other_v = k.clone(), v.clone()
    other_k[:, :, 2] += 1.5 * torch.randn(k[:, :, 2].shape)
    other_v[:, :, 2] += 1.0
    attention = built(name, of)
    changed = (attention(q, k, v) != attention(q, other_k, other_v)).any(-1).any(0).any(0)
    assert changed.tolist() == [False, False, True, False, False]


@pytest.mark.parametrize("name", QKV)
def test_uneven_head_groups_are_all_computed(name):
    """12 heads in 5 groups: bounds of i * group leave two heads out and write two twice."""
    of = params(
        heads=12, segment_lengths=[12, 24, 48, 24, 12], dilation_rates=[1, 1, 1, 2, 3], ring_size=3
    )
    assert [piece.heads for piece in Pattern.of(of).pieces] == [3, 3, 2, 2, 2]
    given_inputs = inputs(of)
    out = built(name, of)(*given_inputs)
    assert out.abs().sum((0, 1, 3)).gt(0).all()
    assert relative(out, oracle.attention(of, *(t.double() for t in given_inputs))) < 5e-6


@pytest.mark.parametrize("name", QKV)
def test_output_is_divided_by_the_number_of_groups_not_by_its_sum(name):
    """Twice the values give twice the output."""
    of = params(ring_size=3)
    q, k, v = inputs(of)
    attention = built(name, of)
    assert relative(attention(q, k, 2 * v), 2 * attention(q, k, v)) < 1e-6


@pytest.mark.parametrize("mixing", ["head_groups", "lse"])
@pytest.mark.parametrize("name", QKV)
def test_no_padded_key_dilutes_the_softmax(name, mixing):
    """Values of 1 average to 1 wherever a position takes part, also where rates do not divide
    segments.
    """
    of = params(mixing=mixing, ring_size=5)
    q, k, v = inputs(of)
    out = built(name, of)(q, k, torch.ones_like(v))
    share = 1.0 if mixing == "lse" else 0.5
    present = out.ne(0).any(-1)
    assert torch.allclose(out[present], torch.tensor(share), atol=1e-6)
    assert present.equal(oracle.attention(of, q, k, torch.ones_like(v)).ne(0).any(-1))


def test_ring_gives_spare_heads_to_the_groups_that_standard_gives_them_to():
    """The first ones."""
    of = params(heads=7, segment_lengths=[48, 12, 24], dilation_rates=[3, 1, 2], ring_size=4)
    given_inputs = inputs(of)
    assert (
        relative(built("ring_v2", of)(*given_inputs), built("standard", of)(*given_inputs)) < 5e-6
    )


def test_no_index_is_repeated_to_fill_a_segment():
    """7 of every 12 positions from offset 0 at rate 5: three take part, none of them twice."""
    of = params(heads=1, segment_lengths=[12], dilation_rates=[5])
    q, k, v = inputs(of)
    # equal weights: each output is the plain mean of the values that take part
    k = torch.zeros_like(k)
    mean = v[:, [0, 5, 10]].mean(1)
    assert torch.allclose(built("standard", of)(q, k, v)[:, 5], mean, atol=1e-6)
    assert torch.allclose(built("improved", of)(q, k, v)[:, 10], mean, atol=1e-6)


@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_no_setting_of_the_process_is_changed(name):
    """Not by building for tf32, not by a call."""
    before = (
        torch.get_float32_matmul_precision(),
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
    )
    of = params(matmul_precision="tf32")
    form = IMPLEMENTATIONS[name].form
    built(name, of)(*inputs(of, form))
    assert (
        torch.get_float32_matmul_precision(),
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
    ) == before


def longnet_by_branches(of, q, k, v, *, detach):
    """LongNet's mixture as its authors' code computes it: each branch's softmax, weighted by its
    share of exp(LSE).
    """
    outs, sums = [], []
    for branch in range(len(of.segment_lengths)):
        masks = [head[branch] for head in oracle.head_masks(of)]
        scores = torch.einsum("bnhd,bmhd->bhnm", q, k) * q.shape[-1] ** -0.5
        scores = scores.masked_fill(~torch.stack(masks), -torch.inf)
        sums.append(scores.logsumexp(-1))
        outs.append(torch.einsum("bhnm,bmhd->bhnd", scores.softmax(-1).nan_to_num(), v))
    weights = torch.stack(sums).softmax(0)
    weights = weights.detach() if detach else weights
    return sum(w[..., None] * out for w, out in zip(weights, outs, strict=True)).transpose(1, 2)


@pytest.mark.parametrize("name", QKV)
def test_lse_is_the_authors_definition_with_the_gradient_of_that_function(name):
    """Their code detaches the weights, which puts dq off by several percent; the function itself is
    the same.
    """
    of = params(
        mixing="lse",
        heads=4,
        segment_lengths=[12, 48],
        dilation_rates=[1, 2],
        head_dim=8,
        ring_size=3,
    )
    given_inputs = [t.requires_grad_() for t in inputs(of)]
    doubles = [t.detach().double().requires_grad_() for t in given_inputs]
    out = built(name, of)(*given_inputs)
    authors = longnet_by_branches(of, *doubles, detach=False)
    assert relative(out, authors.detach()) < 5e-6
    upstream = torch.randn(out.shape)
    ours = torch.autograd.grad(out, given_inputs, upstream)
    exact = torch.autograd.grad(authors, doubles, upstream.double())
    detached = torch.autograd.grad(
        longnet_by_branches(of, *doubles, detach=True), doubles, upstream.double()
    )
    assert relative(ours[0], exact[0]) < 1e-5
    assert relative(detached[0], exact[0]) > 0.02
