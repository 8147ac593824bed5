"""The five implementations on a real GPU: right in every dtype, forward and backward, in little memory."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from implementations import IMPLEMENTATIONS, DilatedAttentionParams, load
from implementations.dilated_attention import WORKLOAD
from orchestrator.examiner import as_expected
from orchestrator.verify import FLOORS, Budget, compare, yardstick_difference
from orchestrator.workload import Config, Problem

pytestmark = [
    pytest.mark.gpu,
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
    "uneven": {"seq_len": 384, "heads": 5, "head_dim": 20, "segment_lengths": [48, 384], "dilation_rates": [5, 7]},
    "wide": {"seq_len": 256, "heads": 4, "head_dim": 128, "segment_lengths": [256, 64], "dilation_rates": [3, 1]},
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
    problem = Problem(settings, form, tuple(t.detach() for t in given), state, torch.float64, 1e30, 0)
    problem = replace(problem, upstream=WORKLOAD.upstream(problem, tuple(out.shape)))
    parameters = dict(implementation.named_parameters()) if state else {}
    leaves = {**dict(zip(WORKLOAD.input_names[form], given, strict=True)), **parameters}
    grads = torch.autograd.grad(out, list(leaves.values()), problem.upstream)
    actual = {"output": out.detach(), **{f"grad_{key}": grad for key, grad in zip(leaves, grads, strict=True)}}
    expected = as_expected(WORKLOAD.reference(problem))
    plain = as_expected(WORKLOAD.reference(replace(problem, dtype=settings.dtype)))
    budget = Budget.of(FLOORS[WORKLOAD.precision(of)])
    verdict, _ = compare(actual, expected, budget.widened(_errors(actual, expected, plain)))
    assert verdict.ok, str(verdict)


def _errors(actual: Any, expected: Any, plain: Any) -> Any:
    return {key: yardstick_difference(key, actual[key], expected[key], plain[key].values) for key in expected}


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("mixing", ["head_groups", "lse"])
@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_forward_and_backward_are_right(name, dtype, pattern, mixing, causal):
    """On the kernels that CUDA chooses for each dtype, head_dim and stride."""
    check(name, params(pattern, dtype=dtype, mixing=mixing, causal=causal, direction="forward_backward"))


@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_tf32_stays_within_the_trial_that_asked(name):
    """Right to tf32's floor, and the process's own setting is as before."""
    before = torch.backends.cuda.matmul.allow_tf32
    check(name, params("longnet", matmul_precision="tf32", direction="forward_backward"))
    assert torch.backends.cuda.matmul.allow_tf32 == before


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", [name for name, entry in IMPLEMENTATIONS.items() if entry.form == "qkv"])
def test_no_scores_are_materialised(name, dtype):
    """At 32,768 positions one head's scores would be gigabytes; the op takes less than its inputs and output again."""
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
