"""The five implementations on a real GPU: right in every dtype, forward and backward, in little
memory.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from implementations import IMPLEMENTATIONS, DilatedAttentionParams, load
from implementations.dilated_attention import WORKLOAD
from implementations.improved import spec_of
from orchestrator.verify.expected import Gradients, compute
from orchestrator.verify.rule.reference import Reference
from orchestrator.workload import Config, Problem

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.filterwarnings(
        "ignore:Attempting to run cuBLAS"
    ),  # of a process whose first product is in a backward pass
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

PATTERNS = {
    "longnet": {
        "seq_len": 512,
        "heads": 8,
        "head_dim": 64,
        "segment_lengths": [128, 256, 512],
        "dilation_rates": [1, 2, 4],
    },
    "uneven": {
        "seq_len": 384,
        "heads": 5,
        "head_dim": 20,
        "segment_lengths": [48, 384],
        "dilation_rates": [5, 7],
    },
    "wide": {
        "seq_len": 256,
        "heads": 4,
        "head_dim": 128,
        "segment_lengths": [256, 64],
        "dilation_rates": [3, 1],
    },
}


def params(pattern: str, **changes: Any) -> DilatedAttentionParams:
    return DilatedAttentionParams(**({"batch": 2, "ring_size": 3} | PATTERNS[pattern] | changes))


def config(of: DilatedAttentionParams) -> Config:
    return Config(of.model_dump(exclude={"device"}), "cuda")


def check(name: str, of: DilatedAttentionParams) -> None:
    """Output and gradients within the budget that a sweep allows."""
    form, settings = IMPLEMENTATIONS[name].form, config(of)
    assert WORKLOAD.state is not None
    assert WORKLOAD.upstream is not None
    state = WORKLOAD.state(settings, form, 0)
    implementation: Any = load(name).build(of)
    if state:
        implementation.load_state_dict(state, strict=True)
    given = tuple(t.requires_grad_() for t in WORKLOAD.inputs(settings, form, 0))
    out = implementation(*given)
    problem = Problem(
        settings, form, tuple(t.detach() for t in given), state, torch.float64, 1e30, 0
    )
    problem = replace(problem, upstream=WORKLOAD.upstream(problem, tuple(out.shape)))
    parameters = dict(implementation.named_parameters()) if state else {}
    leaves = {**dict(zip(WORKLOAD.input_names[form], given, strict=True)), **parameters}
    grads = torch.autograd.grad(out, list(leaves.values()), problem.upstream)
    actual = {
        "output": out.detach(),
        **{f"grad_{key}": grad for key, grad in zip(leaves, grads, strict=True)},
    }
    gradients = Gradients(
        WORKLOAD.input_names[form], tuple(parameters), {"output": problem.upstream}
    )
    truth = Reference(
        lambda one: compute(WORKLOAD, one, gradients), problem, WORKLOAD.precision(of), seed=0
    )
    verdict = truth.judge(actual)
    assert verdict.ok, str(verdict)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("mixing", ["head_groups", "lse"])
@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_forward_and_backward_are_right(name, dtype, pattern, mixing, causal):
    """On the kernels that CUDA chooses for each dtype, head_dim and stride."""
    check(
        name,
        params(pattern, dtype=dtype, mixing=mixing, causal=causal, direction="forward_backward"),
    )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_projections_where_a_branch_reads_them(dtype):
    """At a size from which on multihead_improved projects less and runs its branches side by side."""
    long = {"batch": 1, "seq_len": 8192, "heads": 16, "segment_lengths": [2048, 4096, 8192]}
    check(
        "multihead_improved", params("longnet", **long, dtype=dtype, direction="forward_backward")
    )


@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_tf32_stays_within_the_trial_that_asked(name):
    """Right to tf32's floor, and the process's own setting is as before."""
    before = torch.backends.cuda.matmul.allow_tf32
    check(name, params("longnet", matmul_precision="tf32", direction="forward_backward"))
    assert torch.backends.cuda.matmul.allow_tf32 == before


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "name", [name for name, entry in IMPLEMENTATIONS.items() if entry.form == "qkv"]
)
def test_no_scores_are_materialised(name, dtype):
    """At 32,768 positions one head's scores would be gigabytes; the op takes less than its inputs
    and output again.
    """
    n = 32768
    of = DilatedAttentionParams(
        batch=1,
        seq_len=n,
        heads=4,
        segment_lengths=[n // 4, n // 2, n],
        dilation_rates=[1, 2, 4],
        dtype=dtype,
        ring_size=4,
    )
    given = WORKLOAD.inputs(config(of), "qkv", 0)
    attention = load(name).build(of)
    attention(*given)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    out = attention(*given)
    torch.cuda.synchronize()
    above = torch.cuda.max_memory_allocated() - before
    held = 4 * out.numel() * out.element_size()
    assert above - out.numel() * out.element_size() < held


PLANS = ("fused", "views")
PLANNED = ("improved", "ring_v2")
LAYOUTS = ("heads first", "packed", "every other feature")
SMALL = {
    "seq_len": 512,
    "heads": 5,
    "segment_lengths": [128, 256, 512],
    "dilation_rates": [1, 2, 4],
}


def skip_unless_taken(name: str, plan: str, mixing: str) -> None:
    """Where `ring_v2` has one plan only."""
    if (name, plan, mixing) == ("ring_v2", "fused", "lse"):
        pytest.skip("the fused plan takes keys in blocks under head_groups only")


def laid_out(t: torch.Tensor, layout: str) -> torch.Tensor:
    """The same values (b, n, H, d) in memory laid out otherwise."""
    if layout == "heads first":
        return t.transpose(1, 2).contiguous().transpose(1, 2)
    if layout == "packed":
        return torch.stack([t, t], dim=2)[:, :, 1]
    return torch.stack([t, t], dim=-1).flatten(-2)[..., ::2]


def both(attention: Any, given: Any, upstream: torch.Tensor) -> list[torch.Tensor]:
    """Output and gradients."""
    out = attention(*given)
    return [
        out.detach(),
        *torch.autograd.grad(out, [t for t in given if t.requires_grad], upstream),
    ]


def agree(actual: Any, right: Any, bound: float) -> bool:
    """Relative errors below the bound."""
    return all(
        float((a.double() - b.double()).norm() / b.double().norm()) < bound
        for a, b in zip(actual, right, strict=True)
    )


def drawn(of: DilatedAttentionParams) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Leaves q, k, v and a gradient of the output."""
    given = [t.requires_grad_() for t in WORKLOAD.inputs(config(of), "qkv", 0)]
    return given, torch.randn_like(given[0])


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("head_dim", [16, 40, 64, 128, 256])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("mixing", ["head_groups", "lse"])
@pytest.mark.parametrize("name", PLANNED)
def test_each_plan_is_right(name, mixing, plan, dtype, head_dim, causal):
    """Whatever it would have chosen: output and gradients against float64; blocks lie across
    segments.
    """
    skip_unless_taken(name, plan, mixing)
    of = params("longnet", **SMALL, head_dim=head_dim, dtype=dtype, causal=causal, mixing=mixing)
    given, upstream = drawn(of)
    found = both(load(name).build(of, {"plan": plan}), given, upstream)
    wide = of.model_copy(update={"dtype": "float32"})
    exact = both(
        load("standard").build(wide),
        [t.detach().float().requires_grad_() for t in given],
        upstream.float(),
    )
    assert agree(found, exact, {"float32": 5e-6, "float16": 2e-3, "bfloat16": 1.5e-2}[dtype])


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("mixing", ["head_groups", "lse"])
@pytest.mark.parametrize("name", PLANNED)
def test_inputs_need_not_be_contiguous(name, mixing, plan, layout):
    """Nor the gradient that comes in."""
    skip_unless_taken(name, plan, mixing)
    of = params("longnet", **SMALL, dtype="bfloat16", mixing=mixing)
    given, upstream = drawn(of)
    attention = load(name).build(of, {"plan": plan})
    plain = both(attention, given, upstream)
    strided = both(
        lambda *qkv: attention(*(laid_out(t, layout) for t in qkv)),
        given,
        laid_out(upstream, layout),
    )
    assert agree(strided, plain, 2e-3)


@pytest.mark.parametrize("wanted", ["q", "k", "v", "kv"])
@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("name", PLANNED)
def test_any_subset_of_inputs_may_want_gradients(name, plan, wanted):
    """The others get none."""
    of = params("longnet", **SMALL, dtype="bfloat16")
    given = [
        t.requires_grad_(letter in wanted)
        for letter, t in zip("qkv", WORKLOAD.inputs(config(of), "qkv", 0), strict=True)
    ]
    load(name).build(of, {"plan": plan})(*given).float().square().sum().backward()
    assert (
        "".join(letter for letter, t in zip("qkv", given, strict=True) if t.grad is not None)
        == wanted
    )


@pytest.mark.filterwarnings("ignore:`torch.jit.script")  # of torch's own compiler
@pytest.mark.parametrize("mixing", ["head_groups", "lse"])
@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("name", PLANNED)
def test_one_graph_under_compile(name, plan, mixing):
    """torch.compile with fullgraph, forward and backward, gives what eager gives."""
    skip_unless_taken(name, plan, mixing)
    of = params("longnet", **SMALL, dtype="bfloat16", mixing=mixing)
    given, upstream = drawn(of)
    attention = load(name).build(of, {"plan": plan})
    compiled = torch.compile(lambda q, k, v: attention(q * 2, k, v) + 1, fullgraph=True)
    eager = both(lambda q, k, v: attention(q * 2, k, v) + 1, given, upstream)
    assert agree(both(compiled, given, upstream), eager, 1e-2)


@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_autocast(name):
    """Float32 inputs and parameters under bfloat16 autocast: right to that precision, forward and
    backward.
    """
    of = params("longnet", **SMALL)
    form = IMPLEMENTATIONS[name].form
    layer: Any = load(name).build(of)
    given = [t.requires_grad_() for t in WORKLOAD.inputs(config(of), form, 0)]
    exact = layer(*given)
    upstream = torch.randn_like(exact)
    right = torch.autograd.grad(exact, given, upstream)
    with torch.autocast("cuda", torch.bfloat16):
        out = layer(*given)
    found = torch.autograd.grad(out, given, upstream.to(out.dtype))
    assert agree([out.detach(), *found], [exact.detach(), *right], 3e-2)


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("mixing", ["head_groups", "lse"])
@pytest.mark.parametrize("name", PLANNED)
def test_a_cuda_graph_replays_it(name, mixing, plan):
    """Captured once, replayed on other inputs."""
    skip_unless_taken(name, plan, mixing)
    of = params("longnet", **SMALL, dtype="bfloat16", mixing=mixing)
    held = [t.clone() for t in WORKLOAD.inputs(config(of), "qkv", 0)]
    attention = load(name).build(of, {"plan": plan})
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        attention(*held)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = attention(*held)
    fresh = WORKLOAD.inputs(config(of), "qkv", 1)
    for target, source in zip(held, fresh, strict=True):
        target.copy_(source)
    out.fill_(torch.nan)
    graph.replay()
    assert agree([out], [attention(*fresh)], 1e-6)


@pytest.mark.filterwarnings("ignore:Warning. Profiler clears events")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("name", "mixing", "launches"),
    [("improved", "head_groups", 1), ("improved", "lse", 2), ("ring_v2", "head_groups", 4)],
)
def test_a_fused_call_is_one_launch_for_each_block_of_keys(name, mixing, launches, dtype):
    """Its zeros, its factor and its state included; one more merges branches that share heads."""
    of = params("longnet", **SMALL, dtype=dtype, mixing=mixing, ring_size=4)
    given = WORKLOAD.inputs(config(of), "qkv", 0)
    attention = load(name).build(of, {"plan": "fused"})
    attention(*given)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        attention(*given)
        torch.cuda.synchronize()
    kernels = [
        event.name
        for event in profile.events()
        if event.device_type == torch.autograd.DeviceType.CUDA
    ]
    assert len(kernels) == launches, kernels


RINGS = {
    "longnet": {"heads": 8, "segment_lengths": [8192, 16384, 32768], "dilation_rates": [1, 2, 4]},
    "dense": {"heads": 4, "segment_lengths": [32768], "dilation_rates": [1]},
    "one head": {"heads": 1, "segment_lengths": [32768], "dilation_rates": [1]},
}


@pytest.mark.parametrize("mixing", ["head_groups", "lse"])
@pytest.mark.parametrize("pattern", RINGS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("plan", PLANS)
def test_ring_holds_little_beside_inputs_and_output(plan, dtype, pattern, mixing):
    """The op's peak is at most 1.2 times their size, and the answer that of one block without a
    bound.
    """
    skip_unless_taken("ring_v2", plan, mixing)
    of = params(pattern="longnet", **({"batch": 1, "seq_len": 32768, "ring_size": 4} | RINGS[pattern]),
                dtype=dtype, mixing=mixing)  # fmt: skip
    given = WORKLOAD.inputs(config(of), "qkv", 0)
    attention = load("ring_v2").build(of, {"plan": plan})
    attention(*given)
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    out = attention(*given)
    torch.cuda.synchronize()
    peak = torch.cuda.max_memory_allocated() - before + 3 * out.nbytes
    right = load("improved").build(of, {"plan": "views"})(*given)
    assert agree([out], [right], 3e-6 if dtype == "float32" else 1e-2)
    assert peak <= 1.2 * 4 * out.nbytes


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("causal", [False, True])
def test_ring_in_windows_has_right_gradients(plan, causal):
    """Of rows in float16, one head whose every row crosses blocks: cut by the forward pass, whole
    in the backward.
    """
    of = params("longnet", seq_len=2048, heads=1, segment_lengths=[2048], dilation_rates=[1], dtype="float16",
                causal=causal, ring_size=4)  # fmt: skip
    given, upstream = drawn(of)
    wide = of.model_copy(update={"dtype": "float32"})
    exact = both(
        load("standard").build(wide),
        [t.detach().float().requires_grad_() for t in given],
        upstream.float(),
    )
    assert agree(both(load("ring_v2").build(of, {"plan": plan}), given, upstream), exact, 2e-3)


def test_plans_of_cudnn_do_not_mix_up_layouts():
    """Torch keeps cuDNN's backward plans by the strides of q, k and v alone: results laid out
    otherwise are misread.
    """
    of = params(
        "longnet",
        **(SMALL | {"seq_len": 1024, "segment_lengths": [256, 512, 1024]}),
        dtype="bfloat16",
    )
    given, upstream = drawn(of)
    attention = load("improved").build(of, {"plan": "views"})
    compiled = torch.ops.dilated_attention.forward
    spec = spec_of(Config(of.model_dump(exclude={"device"}), "cuda", {"plan": "views"})).text()
    right = both(load("improved").build(of, {"plan": "fused"}), given, upstream)
    for function in (
        attention,
        lambda q, k, v: compiled(q, k, v, spec)[0],
        attention,
        load("standard").build(of),
    ):
        assert agree(both(function, given, upstream), right, 1e-2)
