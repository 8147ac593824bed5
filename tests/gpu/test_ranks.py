"""Trials over ranks on two GPUs: NCCL, each rank its own card, aligned on the device."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.isolation.isolator import Completed, Isolator
from orchestrator.machine import nvml
from orchestrator.outcome import Outcome
from orchestrator.spec.models import MeasureProtocol, VerifySpec
from orchestrator.trial import Attempt, Resources, Trial

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(nvml.count() < 2, reason="needs two CUDA devices"),
]

ROOT = Path(__file__).parents[2]
TOYS = ROOT / "tests" / "integration" / "toys" / "ranks.py"
EXAMPLE = ROOT / "docs" / "examples" / "row_parallel.py"
PROTOCOL = MeasureProtocol(
    warmup_s=0.05, min_time_s=0.05, max_time_s=1.0, min_repetitions=5, target_ci=0.1
)
ATTENTION = {
    "batch": 1, "seq_len": 4096, "heads": 6, "head_dim": 64, "segment_lengths": [1024, 2048, 4096],
    "dilation_rates": [1, 2, 4], "dtype": "bfloat16", "world_size": 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def isolator() -> Iterator[Isolator]:
    with Isolator(env={"CUDA_VISIBLE_DEVICES": "0,1"}) as made:
        yield made


def attempt(use: str, workload: str, params: dict[str, Any], **resources: Any) -> Attempt:
    return Attempt(
        sweep_id="s",
        trial=Trial.of(implementation="mine", use=use, params=params, options={}),
        workload=workload,
        base_dir=str(ROOT),
        device="cuda",
        seed=0,
        protocol=PROTOCOL,
        verify=VerifySpec(),
        resources=Resources(**{"gpus": 2, "ranks": 2, "timeout_s": 240.0, **resources}),
    )


def example(name: str, **sizes: int) -> Attempt:
    params = {"rows": 64, "inner": 256, "width": 64, "dtype": "float32", "world_size": 2, **sizes}
    return attempt(f"{EXAMPLE}:{name}", f"{EXAMPLE}:WORKLOAD", params)


def toy(name: str, **resources: Any) -> Attempt:
    params = {"world_size": 2, "dtype": "float32", "backward": False}
    return attempt(f"{TOYS}:{name}", f"{TOYS}:WORKLOAD", params, **resources)


def said(done: Completed) -> str:
    return f"{done.record.outcome}: {done.record.error}\n{done.log.decode()}"


def test_an_all_reduce_over_two_cards(isolator):
    """Verified as a whole, timed by the slowest, with the figures of ranks."""
    done = isolator.run(example("all_reduce", rows=1024, inner=4096, width=1024))
    assert done.record.outcome is Outcome.OK, said(done)
    metrics = done.record.metrics
    assert metrics["sent_bytes_per_rank"] == 1024 * 1024 * 4
    assert 0 < metrics["fastest_rank_ms"] <= 1.5 * metrics["latency_ms"]
    assert metrics["peak_memory_mib"] >= 1024 * 1024 * 4 / 2**20


def test_one_that_forgets_a_rank_is_a_mismatch(isolator):
    """The last rank's product is missing from every rank's output."""
    assert isolator.run(example("forgets_a_rank")).record.outcome is Outcome.MISMATCH


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("mixing", ["head_groups", "lse"])
@pytest.mark.parametrize("direction", ["forward", "forward_backward"])
def test_ring_v2_over_two_cards_is_right(isolator, causal, mixing, direction):
    """NCCL, both mixings, causal or not, with gradients."""
    params = {**ATTENTION, "causal": causal, "mixing": mixing, "direction": direction}
    done = isolator.run(attempt("ring_v2", "dilated_attention", params))
    assert done.record.outcome is Outcome.OK, said(done)


@pytest.mark.parametrize(
    ("name", "outcome", "limit_s"),
    [
        ("raises", Outcome.FAILED, 120.0),
        ("dies", Outcome.CRASHED, 120.0),
        ("exits", Outcome.CRASHED, 120.0),
        ("hangs", Outcome.TIMEOUT, 40.0),
    ],
)
def test_a_rank_that_ends_badly_ends_the_other_and_frees_both_cards(
    isolator, name, outcome, limit_s
):
    """With its reason; the next attempt over both cards is right."""
    done = isolator.run(toy(name, timeout_s=limit_s))
    assert done.record.outcome is outcome, said(done)
    assert done.record.error.message.startswith("rank 1 of 2: "), said(done)
    assert isolator.run(example("all_reduce")).record.outcome is Outcome.OK


def test_the_cap_is_on_every_card(isolator):
    """Half a GiB a rank: a product that needs more is out of memory on whichever rank it is."""
    big = example("all_reduce", rows=16384, inner=4096, width=16384)
    limits = big.resources.model_copy(update={"gpu_memory_gib": 0.5})
    done = isolator.run(big.model_copy(update={"resources": limits}))
    assert done.record.outcome is Outcome.OOM, said(done)


def test_a_rank_that_enters_late_lengthens_nobodys_figure(isolator):
    """The device waits for it ahead of the block."""
    done = isolator.run(toy("enters_late"))
    assert done.record.outcome is Outcome.OK, said(done)
    assert done.record.metrics["latency_ms"] < 100.0
