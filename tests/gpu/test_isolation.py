"""What a trial does to a GPU ends with its process: the next one on the same GPU is right, and its
memory is back.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from orchestrator.isolation.isolator import Isolator
from orchestrator.machine import nvml
from orchestrator.outcome import Outcome
from orchestrator.supervisor.device_fault import is_device_fault
from orchestrator.supervisor.device_health import DeviceHealth
from orchestrator.trial import Attempt, Resources, Trial
from tests.faults.table import Fault
from tests.faults.test_faults import check
from tests.faults.trials import attempt_of, napping

ROOT = Path(__file__).parents[2]
TRIVIAL = ROOT / "benchmarks/trivial.py"
SLACK_BYTES = 2**26

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(nvml.count() == 0, reason="needs a CUDA device")]

FAULTS = [
    Fault("eats_device_memory", "oom", ("OutOfMemoryError", "out of memory")),
    Fault("eats_device_memory_by_the_driver", "oom", ("DeviceMemory", "gpu_memory_gib")),
    Fault("writes_astray", "failed", ("illegal memory access",)),
    Fault("asserts_on_device", "failed", ("assert",)),
    Fault("hangs_in_a_kernel", "timeout", ("Timeout", "first_call"), timeout_s=12.0),
    Fault("dies_in_mid_kernel", "crashed", ("SIGKILL",)),
    Fault("segfaults_in_mid_kernel", "crashed", ("SIGSEGV",)),
]


STICKY = {"writes_astray", "asserts_on_device"}


@pytest.fixture(scope="module")
def warm() -> Iterator[Isolator]:
    """An isolator on the first GPU, on which a sound trial is ok."""
    with Isolator(sys_path=[str(ROOT), *sys.path]) as isolator:
        record = isolator.run(on_gpu(f"{TRIVIAL}:build")).record
        assert record.outcome is Outcome.OK, record.error
        yield isolator


def on_gpu(use: str, timeout_s: float = 120.0) -> Attempt:
    """An attempt of the trivial workload, capped at 8 GiB of the GPU."""
    attempt = attempt_of("sound", workload=f"{TRIVIAL}:workload", number=1)
    trial = Trial.of(implementation="gpu", use=use, params={"number": 1}, options={})
    resources = Resources(gpus=1, cpus=1, gpu_memory_gib=8.0, timeout_s=timeout_s)
    return attempt.model_copy(update={"trial": trial, "device": "cuda", "resources": resources})


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.build)
def test_a_fault_on_the_device_is_its_trial_s_business(fault: Fault, warm: Isolator) -> None:
    """The row says what happened; the device is proven clean; a sound trial on the same GPU is ok."""
    proof = DeviceHealth(warm.call)
    attempt = on_gpu(f"{ROOT / 'tests/faults/faulty_gpu.py'}:{fault.build}", fault.timeout_s)
    before = nvml.memory_used_bytes()
    proof.before(attempt)

    done = warm.run(attempt)

    check(fault, done)
    assert is_device_fault(done.record) == (fault.build in STICKY)
    assert done.left_alive == ()
    assert napping() == []
    assert proof.fault_after(attempt, done) == ""
    assert _back_to(before)
    after = warm.run(on_gpu(f"{TRIVIAL}:build")).record
    assert after.outcome is Outcome.OK, after.error


def test_a_sibling_on_the_same_gpu_notices_nothing(warm: Isolator) -> None:
    """Another slot's trial runs and ends well while a neighbour breaks its context."""
    with Isolator(sys_path=[str(ROOT), *sys.path]) as neighbour, ThreadPoolExecutor(1) as pool:
        neighbour.run(on_gpu(f"{TRIVIAL}:build"))
        sibling = pool.submit(
            neighbour.run, on_gpu(f"{ROOT / 'tests/faults/faulty_gpu.py'}:works_for_a_while")
        )
        time.sleep(1.0)
        assert (
            warm.run(on_gpu(f"{ROOT / 'tests/faults/faulty_gpu.py'}:writes_astray")).record.outcome
            == "failed"
        )
        log = sibling.result(60).log
    assert b"right for" in log


def test_a_warm_server_holds_nothing_of_the_device(warm: Isolator) -> None:
    """It has imported torch and never touched CUDA: NVML sees no memory of it."""
    warm.run(on_gpu(f"{TRIVIAL}:build"))
    alone = nvml.memory_used_bytes()
    with Isolator(sys_path=[str(ROOT), *sys.path]) as second:
        second.run(attempt_of("raises", workload=f"{TRIVIAL}:workload", number=1))
        assert _back_to(alone)


def _back_to(before: int | None, within_s: float = 5.0) -> bool:
    """Whether the device's memory in use is what it was, now or within some seconds."""
    deadline = time.monotonic() + within_s
    while (
        (used := nvml.memory_used_bytes()) is not None
        and before is not None
        and used > before + SLACK_BYTES
    ):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
