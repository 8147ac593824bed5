"""What is improved's own: its options, its choice, and its operators under compile, autocast and
export.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from implementations import IMPLEMENTATIONS, load, ring
from implementations.choice import Facts, choose
from implementations.improved import spec_of
from implementations.kernels import op, sdpa
from implementations.kernels.fused import FusedPlan
from implementations.kernels.fused_lse import LsePlan
from implementations.kernels.spec import Spec
from implementations.kernels.tiles import FIELDS, Tiles, compact_rows, entries_of_heads
from orchestrator.workload import Config
from tests.implementations.problems import built, config, inputs, params, relative

HOPPER = Facts(
    cuda=True,
    fusible=True,
    shares_heads=False,
    in_blocks=False,
    dtype="bfloat16",
    tf32=False,
    backward=False,
    head_dim=64,
    cudnn=True,
    flops=10e9,
    branches=3,
)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"block": 64}, "no option 'block'; it has plan, block_m, block_n, num_warps, num_stages"),
        ({"plan": "fast"}, "must be fused or views, not 'fast'"),
        ({"block_m": 0}, "block_m must be a whole number of at least 1, not 0"),
        ({"num_warps": True}, "num_warps must be a whole number of at least 1, not True"),
        ({"plan": "views", "block_n": 64}, "block_n belongs to the plan fused"),
    ],
)
def test_impossible_options_are_refused(options, message):
    """With the option, the rule and what there is."""
    with pytest.raises(ValueError, match=message):
        load("improved").build(params(), options)


@pytest.mark.parametrize("name", ["improved", "ring_v2"])
@pytest.mark.parametrize("options", [{"plan": "fused"}, {"block_m": 64}])
def test_the_fused_plan_is_unsupported_on_a_cpu(options, name):
    """Which is an answer, not a failure; block sizes ask for it too."""
    with pytest.raises(NotImplementedError, match=f"{name}'s plan fused needs"):
        load(name).build(params(), options)


def test_keys_in_blocks_are_not_fused_under_lse(monkeypatch):
    """Which is said. All keys at once are, and one branch is what it is under head_groups."""
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    of, fused = params(mixing="lse", ring_size=3), {"plan": "fused"}

    def kind(of):
        made = Config(of.model_dump(exclude={"device"}), "cpu", fused)
        return type(op._plan(spec_of(made).text()))

    with pytest.raises(
        NotImplementedError,
        match="ring_v2's plan fused takes keys in blocks under mixing head_groups only",
    ):
        load("ring_v2").build(of, fused)
    assert kind(of) is LsePlan
    assert kind(params(mixing="lse", segment_lengths=[12], dilation_rates=[5])) is FusedPlan


@pytest.mark.parametrize(
    ("changes", "plan"),
    [
        ({}, "fused"),
        ({"flops": 100e9}, "views"),
        ({"flops": 29e9}, "fused"),
        ({"flops": 29e9, "branches": 1}, "views"),
        ({"flops": 29e9, "backward": True}, "views"),
        ({"flops": 900e9, "head_dim": 24}, "fused"),
        ({"flops": 900e9, "head_dim": 24, "backward": True}, "views"),
        ({"flops": 8e9, "head_dim": 128}, "fused"),
        ({"flops": 8e9, "head_dim": 72}, "views"),  # as much work as of 128 features
        ({"flops": 1400e9, "shares_heads": True}, "fused"),
        ({"flops": 1400e9, "shares_heads": True, "backward": True}, "fused"),
        ({"flops": 1600e9, "shares_heads": True}, "views"),
        ({"flops": 1400e9, "shares_heads": True, "head_dim": 48}, "views"),
        ({"flops": 1400e9, "shares_heads": True, "dtype": "float32", "head_dim": 128}, "fused"),
        ({"flops": 1600e9, "shares_heads": True, "dtype": "float32"}, "views"),
        ({"flops": 700e9, "in_blocks": True}, "fused"),
        ({"flops": 700e9, "in_blocks": True, "backward": True}, "views"),
        ({"flops": 400e9, "in_blocks": True, "backward": True}, "fused"),
        ({"flops": 400e9, "in_blocks": True, "head_dim": 128}, "views"),
        ({"flops": 800e9, "in_blocks": True, "head_dim": 32}, "views"),
        ({"flops": 700e9, "in_blocks": True, "head_dim": 32}, "fused"),
        ({"flops": 100e9, "cudnn": False}, "fused"),
        ({"head_dim": 256}, "views"),
        ({"fusible": False}, "views"),
        ({"cuda": False}, "views"),
        ({"dtype": "float32", "flops": 900e9}, "fused"),
        ({"dtype": "float32", "head_dim": 128}, "views"),
        ({"dtype": "float32", "head_dim": 128, "flops": 1e9}, "fused"),
        ({"dtype": "float32", "head_dim": 128, "tf32": True}, "fused"),
    ],
)
def test_the_choice_follows_its_rule(changes, plan):
    """As `list --explain` states it."""
    assert choose(replace(HOPPER, **changes)) == plan


def test_the_rule_is_known_without_building():
    """The registry carries it."""
    assert "< 10, backward < 8 GFLOP a branch" in IMPLEMENTATIONS["improved"].explain
    assert "one Triton launch for each block of keys" in IMPLEMENTATIONS["ring_v2"].explain


@pytest.mark.parametrize("of", [spec_of, ring.spec_of])
def test_a_spec_survives_its_text(of):
    """Which is what an operator carries through a graph."""
    spec = of(config(params(ring_size=5)))
    assert Spec.parse(spec.text()) == spec
    assert spec.block == (None if of is spec_of else 10)


@pytest.mark.parametrize("name", ["improved", "ring_v2"])
@pytest.mark.parametrize("mixing", ["head_groups", "lse"])
@pytest.mark.parametrize("head_dim", [3, 8])
def test_one_graph_under_compile(mixing, head_dim, name):
    """torch.compile with fullgraph sees one operator each way, and answers as eager does."""
    of = params(mixing=mixing, head_dim=head_dim, ring_size=3)
    given = [t.requires_grad_() for t in inputs(of)]
    attention = built(name, of)
    eager = attention(*given)
    compiled = torch.compile(attention, fullgraph=True, backend="aot_eager")(*given)
    upstream = torch.randn(eager.shape)
    assert relative(compiled, eager.detach()) < 1e-6
    for ours, right in zip(
        torch.autograd.grad(compiled, given, upstream),
        torch.autograd.grad(eager, given, upstream),
        strict=True,
    ):
        assert relative(ours, right) < 1e-5


@pytest.mark.parametrize("spec", [spec_of, ring.spec_of])
@pytest.mark.parametrize("mixing", ["head_groups", "lse"])
def test_the_operators_keep_torchs_rules(mixing, spec):
    """Schema, fake kernels, gradients and dynamic shapes, by torch's own check."""
    of = params(mixing=mixing, ring_size=3)
    given = [t.requires_grad_() for t in inputs(of)]
    torch.library.opcheck(op._forward_op, (*given, spec(config(of)).text()))


@pytest.mark.parametrize("name", ["improved", "ring_v2", "multihead_improved"])
def test_autocast(name):
    """Float32 inputs under bfloat16: right to that precision, and gradients in float32."""
    of = params(head_dim=8)
    given = [t.requires_grad_() for t in inputs(of, IMPLEMENTATIONS[name].form)]
    layer = built(name, of)
    exact = layer(*given)
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(*given)
    assert out.dtype == torch.bfloat16
    assert relative(out, exact.detach()) < 2e-2
    upstream = torch.randn(exact.shape)
    right = torch.autograd.grad(exact, given, upstream)
    for ours, true in zip(torch.autograd.grad(out, given, upstream.bfloat16()), right, strict=True):
        assert ours.dtype == torch.float32
        assert relative(ours, true) < 5e-2


def test_tiles_cover_every_row_once():
    """Each piece's tiles hold its rows and the positions cut off at the end; long segments come
    first.
    """
    of = params(batch=3)
    pattern = spec_of(config(of)).pattern
    tiles = Tiles.of(pattern, of.batch, 4, 4)
    fields = [tiles.table[i : i + 10] for i in range(0, len(tiles.table), 10)]
    ends = [first for first, *_ in fields[1:]] + [tiles.count]
    for (first, length, rate, _, selected, _, heads, per_segment, segments, _), end in zip(
        fields, ends, strict=True
    ):
        assert end - first == per_segment * segments * heads * of.batch
        assert 4 * per_segment >= -(-length // rate) >= selected
    assert [field[4] for field in fields] == sorted((field[4] for field in fields), reverse=True)
    assert sorted(compact_rows(pattern).values())[0] == 0


def test_every_head_finds_its_piece_in_each_branch():
    """Of more pieces than a kernel looks through one by one: the table is filled up."""
    pattern = spec_of(config(params(mixing="lse", heads=18, dilation_rates=[12, 9]))).pattern
    tiles = Tiles.of(pattern, 2, 4, 4)
    assert (len(pattern.pieces), tiles.pieces) == (18, 32)
    assert len(tiles.table) == 32 * FIELDS
    assert min(tiles.table[18 * FIELDS :: FIELDS]) > tiles.count
    found = iter(entries_of_heads(pattern))
    for length, rate in ((12, 12), (48, 9)):
        for head in range(18):
            entry = tiles.table[next(found) * FIELDS :][:FIELDS]
            offset = head // -(-18 // rate)
            assert entry[1:4] == (length, rate, offset)
            assert entry[5] <= head < entry[5] + entry[6]


def test_importing_the_implementations_imports_no_compiler():
    """Which takes a second: every sweep's fork server would pay for what only graphs need."""
    modules = sorted({of.target.partition(":")[0] for of in IMPLEMENTATIONS.values()})
    code = f"import {', '.join(modules)}, sys; print('torch._dynamo' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_the_compiler_takes_the_choice_of_cudnn_for_a_constant():
    """By the mark that torch's own decorator sets, which would import the compiler at once."""
    marked = torch.compiler.assume_constant_result(lambda: 1)
    assert vars(marked).items() <= vars(sdpa.takes_cudnn).items()
