"""The five implementations agree with explicit masks: any shape, dtype, layout; forward and
backward.
"""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from implementations.kernels import bound, calls, schedule
from tests.implementations import oracle
from tests.implementations.problems import (
    MULTIHEAD,
    QKV,
    TOLERANCE,
    Sizes,
    any_params,
    built,
    inputs,
    laid_out,
    oracle_gradients,
    params,
    relative,
    state,
)

brief = settings(max_examples=20, deadline=None)
LAYOUTS = ("contiguous", "heads first", "packed", "batch inside", "every other feature")


@pytest.mark.parametrize("name", QKV)
@given(of=any_params(), layout=st.sampled_from(LAYOUTS))
@brief
def test_outputs_agree_for_any_shape_and_layout(name, of, layout):
    """Uneven groups, rates that divide nothing, causal or not, either mixing, any number of blocks."""
    given_inputs = inputs(of)
    out = built(name, of)(*(laid_out(t, layout) for t in given_inputs))
    right = oracle.attention(of, *(t.double() for t in given_inputs))
    assert out.shape == right.shape
    assert out.dtype == torch.float32
    assert relative(out, right) < TOLERANCE["float32"]
    assert not out[right.eq(0).all(-1)].any()


@pytest.mark.parametrize("name", QKV)
@given(of=any_params(), layout=st.sampled_from(LAYOUTS))
@brief
def test_gradients_agree_for_any_shape_and_layout(name, of, layout):
    """Of q, k and v, whatever the layout of inputs and of the gradient that comes in."""
    given_inputs = [t.requires_grad_() for t in inputs(of)]
    out = built(name, of)(*(laid_out(t, layout) for t in given_inputs))
    upstream = torch.randn(out.shape)
    found = torch.autograd.grad(out, given_inputs, laid_out(upstream, layout))
    truth = oracle_gradients(of, "qkv", tuple(given_inputs), upstream)
    for letter, grad in zip("qkv", found, strict=True):
        assert relative(grad, truth[f"grad_{letter}"]) < 10 * TOLERANCE["float32"], letter


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("mixing", ["head_groups", "lse"])
@pytest.mark.parametrize("name", QKV)
def test_half_precision(name, mixing, dtype):
    """Merged in float32, so that blocks and branches cost no precision."""
    of = params(dtype=dtype, mixing=mixing, causal=True, ring_size=5)
    given_inputs = [t.requires_grad_() for t in inputs(of)]
    out = built(name, of)(*given_inputs)
    upstream = torch.randn(out.shape).to(out.dtype)
    truth = oracle_gradients(of, "qkv", tuple(given_inputs), upstream)
    assert out.dtype == getattr(torch, dtype)
    assert relative(out, truth["output"]) < TOLERANCE[dtype]
    for letter, grad in zip("qkv", torch.autograd.grad(out, given_inputs, upstream), strict=True):
        assert grad.dtype == out.dtype
        assert relative(grad, truth[f"grad_{letter}"]) < 3 * TOLERANCE[dtype], letter


@pytest.mark.parametrize("name", MULTIHEAD)
@given(of=any_params())
@settings(max_examples=8, deadline=None)
def test_multihead_agrees_with_gradients_of_all_parameters(name, of):
    """With parameters loaded by their names."""
    (x,) = (t.requires_grad_() for t in inputs(of, "multihead"))
    layer = built(name, of)
    out = layer(x)
    upstream = torch.randn(out.shape)
    truth = oracle_gradients(of, "multihead", (x,), upstream)
    # a row of few features may be almost constant: LayerNorm divides by next to nothing
    if of.head_dim * of.heads < 4:
        return
    assert relative(out, truth["output"]) < 20 * TOLERANCE["float32"]
    found = torch.autograd.grad(out, [x, *layer.parameters()], upstream)
    for key, grad in zip(
        ["x", *(name for name, _ in layer.named_parameters())], found, strict=True
    ):
        slack = max(1.0, float(found[0].norm()))
        assert relative(grad, truth[f"grad_{key}"]) < 1e-3 * slack, key


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", MULTIHEAD)
def test_multihead_in_half_precision(name, dtype):
    """Gradients of all parameters too: those of the norm are sums over every row."""
    of = params(dtype=dtype, seq_len=480, segment_lengths=[48, 480], head_dim=8)
    (x,) = (t.requires_grad_() for t in inputs(of, "multihead"))
    layer = built(name, of)
    out = layer(x)
    upstream = torch.randn(out.shape).to(out.dtype)
    truth = oracle_gradients(of, "multihead", (x,), upstream)
    assert relative(out, truth["output"]) < TOLERANCE[dtype]
    names = [name for name, _ in layer.named_parameters()]
    found = torch.autograd.grad(out, [x, *layer.parameters()], upstream)
    for key, grad in zip(["x", *names], found, strict=True):
        if key != "k_proj.bias":  # 0 but for rounding
            assert relative(grad, truth[f"grad_{key}"]) < TOLERANCE[dtype], key


def test_multihead_state_is_the_same_in_both():
    """One's state_dict loads into the other, and both then answer alike."""
    of = params()
    standard, improved = (built(name, of) for name in MULTIHEAD)
    assert set(standard.state_dict()) == set(state(of))
    improved.load_state_dict(standard.state_dict(), strict=True)
    (x,) = inputs(of, "multihead")
    assert relative(improved(x), standard(x).detach()) < TOLERANCE["float32"]


@pytest.mark.parametrize("name", QKV)
@pytest.mark.parametrize("wanted", ["q", "k", "v", "qk", "kv"])
def test_any_subset_of_inputs_may_want_gradients(name, wanted):
    """The others get none."""
    of = params(ring_size=3)
    given_inputs = [
        t.requires_grad_(letter in wanted) for t, letter in zip(inputs(of), "qkv", strict=True)
    ]
    built(name, of)(*given_inputs).square().sum().backward()
    assert (
        "".join(letter for t, letter in zip(given_inputs, "qkv", strict=True) if t.grad is not None)
        == wanted
    )


@pytest.mark.parametrize("name", QKV)
def test_inputs_are_left_alone(name):
    """Bit for bit."""
    of = params(ring_size=3)
    given_inputs = inputs(of)
    kept = [t.clone() for t in given_inputs]
    built(name, of)(*given_inputs)
    assert all(t.equal(copy) for t, copy in zip(given_inputs, kept, strict=True))


@pytest.mark.parametrize("causal", [False, True])
def test_large_calls_are_split_by_head(monkeypatch, causal):
    """With the same answer; here every call is too large."""
    monkeypatch.setattr(calls, "CALL_BYTES", 1)
    of = params(causal=causal)
    given_inputs = inputs(of)
    right = oracle.attention(of, *(t.double() for t in given_inputs))
    assert relative(built("improved", of)(*given_inputs), right) < TOLERANCE["float32"]


@pytest.mark.parametrize("lengths", [[512], [128, 256, 512]])
@pytest.mark.parametrize("heads", [3, 8])
@pytest.mark.parametrize("ring_size", [1, 4, 16])
def test_ring_holds_little_beside_its_output(ring_size, heads, lengths):
    """No result of a call is larger than the bound, whatever the pattern and the number of blocks."""
    of = params(batch=1, seq_len=512, heads=heads, head_dim=32, segment_lengths=lengths,
                dilation_rates=[1, 2, 4][: len(lengths)], ring_size=ring_size)  # fmt: skip
    ring, given_inputs = built("ring_v2", of), inputs(of)
    with Sizes() as sizes:
        out = ring(*given_inputs)
    whole, *others = sorted(sizes.bytes, reverse=True)
    assert whole == out.nbytes
    assert others[0] <= 0.15 * 4 * out.nbytes
    assert (
        relative(out, oracle.attention(of, *(t.double() for t in given_inputs)))
        < TOLERANCE["float32"]
    )


@given(of=any_params(), layout=st.sampled_from(LAYOUTS))
@brief
def test_ring_in_many_windows(of, layout):
    """A bound that leaves room for a few rows of one head changes nothing, forward and backward."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bound, "SHARE", 0.02)
        patch.setattr(schedule, "UNIT", 1)
        given_inputs = [t.requires_grad_() for t in inputs(of)]
        out = built("ring_v2", of)(*(laid_out(t, layout) for t in given_inputs))
        upstream = torch.randn(out.shape)
        found = torch.autograd.grad(out, given_inputs, upstream)
    truth = oracle_gradients(of, "qkv", tuple(given_inputs), upstream)
    assert relative(out, truth["output"]) < TOLERANCE["float32"]
    assert not out[truth["output"].eq(0).all(-1)].any()
    for letter, grad in zip("qkv", found, strict=True):
        assert relative(grad, truth[f"grad_{letter}"]) < 10 * TOLERANCE["float32"], letter
