"""The worker on a GPU: figures of memory and time, side streams, and the cap on a trial's share of
the card.
"""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from orchestrator.machine import nvml
from orchestrator.outcome import Outcome
from orchestrator.spec.models import MeasureProtocol
from orchestrator.trial import Resources
from tests.support.attempts import attempt, attention_attempt, recorded

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(nvml.count() == 0, reason="needs a CUDA device")]

HERE = Path(__file__).parent
PROTOCOL = MeasureProtocol(
    warmup_s=0.05, min_time_s=0.05, max_time_s=0.5, min_repetitions=10, target_ci=0.05
)
LARGE = {"batch": 2, "rows": 4096, "inner": 2048, "width": 2048}
OUTPUT_MIB = 2 * 4096 * 2048 * 4 / 2**20
INPUTS_MIB = (2 * 4096 * 2048 + 2 * 2048 * 2048) * 4 / 2**20
CUBLAS_MIB = 32  # the workspace that torch gives cuBLAS on Hopper


def on_gpu(name: str, **fields: Any) -> Any:
    """An attempt of matmul_streams.`name` on the first GPU."""
    use = f"{HERE}/matmul_streams.py:{name}"
    return attempt(name, use=use, device="cuda", protocol=PROTOCOL, **{**LARGE, **fields})


def test_memory_and_time_come_under_their_names() -> None:
    """Peak is inputs and output, workspace the output, each with cuBLAS's own; the device counts
    more than torch.
    """
    given = attempt("honest", device="cuda", protocol=PROTOCOL, **LARGE)
    # what others left is theirs
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as alone:
        record = alone.submit(recorded, given).result()
    assert record.outcome is Outcome.OK, record.error
    figures = {name: value or 0.0 for name, value in (record.metrics or {}).items()}
    assert OUTPUT_MIB <= figures["workspace_mib"] <= OUTPUT_MIB + CUBLAS_MIB
    assert (
        INPUTS_MIB + OUTPUT_MIB
        <= figures["peak_memory_mib"]
        <= INPUTS_MIB + OUTPUT_MIB + CUBLAS_MIB
    )
    assert figures["reserved_mib"] >= figures["peak_memory_mib"]
    assert figures["device_memory_mib"] >= figures["reserved_mib"]
    assert 0 < figures["latency_ms"] <= 1.2 * figures["host_latency_ms"]
    assert figures["cold_latency_ms"] > 0
    assert figures["first_call_ms"] > figures["latency_ms"]


@pytest.mark.parametrize("name", ["starts_too_early", "returns_too_early"])
def test_work_on_a_side_stream_that_is_not_joined_is_a_mismatch(name: str) -> None:
    """Inputs are written behind a spinning kernel, and the answer is read as soon as the call
    returns.
    """
    record = recorded(on_gpu(name))
    assert record.outcome is Outcome.MISMATCH, record.metrics


def test_a_side_stream_that_is_joined_is_fine() -> None:
    """The same stream, waited for in both directions."""
    record = recorded(on_gpu("joins_its_stream"))
    assert record.outcome is Outcome.OK, record.error


@pytest.mark.timeout(60)
def test_a_call_that_waits_for_the_device_is_measured_and_says_so() -> None:
    """With the host's gaps, a note, and in the time that any other takes."""
    record = recorded(on_gpu("waits_for_the_device"))
    assert record.outcome is Outcome.OK, record.error
    assert any("could not keep ahead" in note for note in record.notes)


@pytest.mark.parametrize(("cap_gib", "outcome"), [(0.9, Outcome.OOM), (1.5, Outcome.OK)])
def test_the_cap_is_the_implementation_s_alone(cap_gib: float, outcome: Outcome) -> None:
    """A workspace of a GiB does not fit in 0.9, and fits in 1.5 although the harness takes several
    times that.
    """
    record = recorded(
        on_gpu("needs_a_gibibyte", resources=Resources(gpus=1, cpus=1, gpu_memory_gib=cap_gib))
    )
    assert record.outcome is outcome, record.error
    assert record.environment["match"]["memory_cap_gib"] == cap_gib


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("direction", ["forward", "forward_backward"])
def test_attention_is_right_on_the_gpu_in_every_dtype(dtype: str, direction: str) -> None:
    """Causal, gradients included; and the one that sees the future is not."""
    fields = {"dtype": dtype, "direction": direction, "causal": True}
    right, wrong = (attention_attempt(name, **fields) for name in ("honest", "sees_the_future"))
    record = recorded(right.model_copy(update={"device": "cuda", "protocol": PROTOCOL}))
    assert record.outcome is Outcome.OK, record.error
    record = recorded(wrong.model_copy(update={"device": "cuda", "protocol": PROTOCOL}))
    assert record.outcome is Outcome.MISMATCH
