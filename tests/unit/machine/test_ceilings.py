"""Ceilings: what a device can do bounds what may be believed."""

from __future__ import annotations

import pytest
import torch

from orchestrator.machine import microbenchmarks as module
from orchestrator.machine.ceilings import Ceilings
from orchestrator.machine.microbenchmarks import measure_bounds, measure_ceilings, measure_controls
from orchestrator.machine.observation import Control, machine_drift
from orchestrator.spec.models import MeasureProtocol
from orchestrator.workload import Work

CARD = Ceilings(
    device="cuda",
    matmul_flops_per_s={"float32": 50e12, "bfloat16": 800e12, "float16": 20e12},
    copy_bytes_per_s=3e12,
    cache_bytes=50 * 2**20,
)
MATMUL_BOUND = Work(flops=8e12, bytes=1e6)
COPY_BOUND = Work(flops=1.0, bytes=3e9)


def test_a_rate_within_the_ceiling_is_possible() -> None:
    """Ten milliseconds are just what 8 TFLOP take in bfloat16."""
    assert CARD.impossible(MATMUL_BOUND, 0.010, "bfloat16") is None
    assert CARD.share(MATMUL_BOUND, 0.020, "bfloat16") == pytest.approx(0.5)


def test_a_rate_above_the_matmul_ceiling_is_impossible_and_says_why() -> None:
    """Eight TFLOP in 5 ms are twice what the device's own matmul reaches."""
    reason = CARD.impossible(MATMUL_BOUND, 0.005, "bfloat16")
    assert reason is not None
    assert "1.6e+15 FLOP/s in bfloat16" in reason
    assert "matmul reaches 8e+14" in reason


def test_the_bound_is_on_the_work_really_needed() -> None:
    """A method that may leave out half the useful work may be twice as fast."""
    saving = Work(flops=8e12, bytes=1e6, needed_flops=4e12)
    assert CARD.impossible(saving, 0.005, "bfloat16") is None


def test_data_beyond_the_caches_cannot_move_faster_than_a_copy() -> None:
    """Three gigabytes in half a millisecond are impossible at 3 TB/s."""
    assert CARD.impossible(COPY_BOUND, 0.001, "float32") is None
    assert "copy" in (CARD.impossible(COPY_BOUND, 0.0005, "float32") or "")


def test_data_within_the_caches_may_move_faster_than_a_copy() -> None:
    """Sixty megabytes can come out of a 50 MiB cache in part: no bound."""
    assert CARD.impossible(Work(flops=1.0, bytes=60e6), 1e-6, "float32") is None


def test_a_slow_narrow_type_may_be_computed_in_a_wider_one() -> None:
    """Where float16 matmuls are slower than float32's, an implementation may convert."""
    assert CARD.impossible(Work(flops=40e12, bytes=1.0), 1.0, "float16") is None
    assert CARD.impossible(Work(flops=60e12, bytes=1.0), 1.0, "float16") is not None


def test_two_gpus_may_be_twice_as_fast() -> None:
    """The ceiling is that of one device."""
    assert CARD.impossible(MATMUL_BOUND, 0.005, "bfloat16", gpus=2) is None


def test_an_unmeasured_precision_bounds_nothing() -> None:
    """No ceiling, no verdict and no share."""
    assert CARD.impossible(MATMUL_BOUND, 1e-9, "float64") is None
    assert CARD.share(MATMUL_BOUND, 1e-9, "float64") is None


def test_ceilings_measured_again_can_only_rise() -> None:
    """A first measurement on a disturbed machine does not condemn what the second allows."""
    disturbed = CARD.model_copy(update={"matmul_flops_per_s": {"bfloat16": 80e12}})
    assert disturbed.impossible(MATMUL_BOUND, 0.010, "bfloat16") is not None
    merged = disturbed.merged(CARD)
    assert merged == CARD.merged(disturbed)
    assert merged.impossible(MATMUL_BOUND, 0.010, "bfloat16") is None


def test_a_machine_that_slows_down_is_named() -> None:
    """Controls 5 % apart are no noise on a GPU, and no news on a CPU."""
    series = [
        Control(at="a", matmul_ms=1.0, copy_ms=2.0),
        Control(at="b", matmul_ms=1.05, copy_ms=2.0),
    ]
    found = machine_drift(series, "cuda")
    assert found is not None
    said = "a fixed matmul took 1 ms at its fastest, 1.05 ms at its slowest (+5%)"
    assert said in found.sentence()
    assert machine_drift(series, "cpu") is None
    assert machine_drift([], "cuda") is None


def test_the_control_that_changed_most_is_the_one_that_is_named() -> None:
    """A loop of the interpreter is on a CPU only, and counts like the others."""
    series = [
        Control(at=at, matmul_ms=matmul, copy_ms=2.0, loop_ms=loop)
        for at, matmul, loop in (("a", 1.0, 3.0), ("b", 1.2, 4.5))
    ]
    found = machine_drift(series, "cpu")
    assert found is not None
    assert "a fixed loop of the interpreter took 3 ms" in found.sentence()
    assert found.share == pytest.approx(0.5)


def test_controls_of_an_earlier_version_are_readable() -> None:
    """They had a matmul and a copy, and no spread."""
    old = Control.model_validate({"at": "2026-11-25", "matmul_ms": 1.0, "copy_ms": 2.0})
    assert (old.loop_ms, old.launch_ms, dict(old.noise_pct)) == (None, None, {})


@pytest.mark.slow
def test_the_ceilings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measured small: rates are positive, tf32's switch is put back, and the record is JSON."""
    monkeypatch.setitem(module.PROTOCOLS, "cpu", _quick())
    monkeypatch.setitem(module.MATMUL_SIZES, "cpu", dict.fromkeys(module.MATMUL_SIZES["cpu"], 64))
    monkeypatch.setitem(module.COPY_BYTES, "cpu", 2**20)
    monkeypatch.setattr(module, "cache_bytes", lambda _device: 2**18)
    before = torch.backends.cuda.matmul.fp32_precision
    found = measure_ceilings("cpu", ["bfloat16", "tf32"])
    assert torch.backends.cuda.matmul.fp32_precision == before
    assert set(found.matmul_flops_per_s) == {"bfloat16", "tf32", "float32"}
    assert min(found.matmul_flops_per_s.values()) > 1e6
    assert found.copy_bytes_per_s > 1e6
    assert Ceilings.model_validate_json(found.model_dump_json()) == found


@pytest.mark.slow
def test_the_controls_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A product, a copy and a loop, each with its spread; nothing is launched on a CPU."""
    monkeypatch.setitem(module.CONTROL_MATMUL, "cpu", ("float32", 64))
    monkeypatch.setitem(module.CONTROL_COPY_BYTES, "cpu", 2**20)
    found = measure_controls("cpu", "now")
    assert found.loop_ms is not None
    assert min(found.matmul_ms, found.copy_ms, found.loop_ms) > 0
    assert found.launch_ms is None
    assert set(found.noise_pct) == {"matmul_ms", "copy_ms", "loop_ms"}


def _quick() -> MeasureProtocol:
    return MeasureProtocol(
        warmup_s=0.0, min_time_s=0.0, max_time_s=0.01, min_repetitions=1, target_ci=0.5
    )


def test_bounds_are_no_lower_than_the_cores_could_do_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A machine so disturbed that its large product crawls condemns nothing that a core by itself
    makes possible.
    """
    crawling = Ceilings(
        device="cpu", matmul_flops_per_s={"float32": 1.0}, copy_bytes_per_s=1.0, cache_bytes=2**20
    )
    monkeypatch.setattr(module, "measure_ceilings", lambda device, precisions: crawling)
    monkeypatch.setattr(module, "SHORT_BENCHMARK_S", 0.01)
    threads = torch.get_num_threads()
    found = measure_bounds("cpu", ["float32"])
    assert found.matmul_flops_per_s["float32"] > 1e8
    assert found.copy_bytes_per_s > 1e7
    assert found.cache_bytes == crawling.cache_bytes
    assert torch.get_num_threads() == threads
