"""A device is proven clean after an attempt that did not end well, by its memory and by a probe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from orchestrator.attempt_result import AttemptResult
from orchestrator.isolation.isolator import Completed
from orchestrator.isolation.process_end import Cause
from orchestrator.isolation.request import Call
from orchestrator.outcome import DEVICE_FAULT, Outcome, Phase
from orchestrator.record import ErrorInfo, Fingerprint, TrialRecord
from orchestrator.supervisor import device_probe
from orchestrator.supervisor.device_fault import is_device_fault, noted
from orchestrator.supervisor.device_health import SLACK_BYTES, DeviceHealth
from orchestrator.supervisor.device_probe import ProbeRequest, ProbeResult
from orchestrator.trial import Attempt, Resources
from tests.support.attempts import attempt

GIB = 2**30
CLEAN = ProbeResult(faults=())


def on_gpu(gpus: int = 1) -> Attempt:
    return attempt("honest", device="cuda", resources=Resources(gpus=gpus, cpus=1))


def ended(outcome: Outcome, message: str = "it said so", device: str = "cuda") -> TrialRecord:
    return TrialRecord(
        sweep_id="sweep",
        trial_id="trial",
        implementation="honest",
        params={},
        outcome=outcome,
        phase=Phase.FIRST_CALL,
        error=None if outcome is Outcome.OK else ErrorInfo.of("AcceleratorError", message),
        fingerprint=Fingerprint(source="", environment="", protocol=""),
        started_at="",
        finished_at="",
        device=device,
    )


class Gpu:
    """What a driver would say of a GPU, and the probes that were run on it."""

    def __init__(
        self,
        *used: int,
        answer: ProbeResult | Cause = CLEAN,
        strangers: frozenset[int] = frozenset(),
    ) -> None:
        self._used = list(used)
        self._strangers = [frozenset(), strangers]
        self._answer = answer
        self.probed: list[ProbeRequest] = []

    def used(self, _ordinal: int) -> int:
        """The next figure; the last one stays."""
        return self._used.pop(0) if len(self._used) > 1 else self._used[0]

    def company(self, _ordinal: int) -> frozenset[int]:
        """Alone at first."""
        return self._strangers.pop(0) if len(self._strangers) > 1 else self._strangers[0]

    def call(self, call: Call[ProbeResult]) -> ProbeResult | Cause:
        """Keep what was asked for, and answer."""
        assert isinstance(call.argument, ProbeRequest)
        self.probed.append(call.argument)
        return self._answer

    def fault_after(self, outcome: Outcome, left_alive: tuple[int, ...] = ()) -> str:
        """What the proof says of an attempt on this GPU that ended so."""
        proof = DeviceHealth(self.call, self.used, self.company, back_within_s=0.2)
        given = on_gpu()
        proof.before(given)
        return proof.fault_after(
            given, Completed(AttemptResult(record=ended(outcome)), left_alive=left_alive)
        )


def test_an_attempt_that_ends_well_costs_no_proof() -> None:
    """Neither `ok` nor `unsupported` is followed by a probe."""
    gpu = Gpu(GIB)
    assert [gpu.fault_after(outcome) for outcome in (Outcome.OK, Outcome.UNSUPPORTED)] == ["", ""]
    assert gpu.probed == []


@pytest.mark.parametrize(
    "outcome", [Outcome.CRASHED, Outcome.TIMEOUT, Outcome.OOM, Outcome.FAILED, Outcome.MISMATCH]
)
def test_any_other_end_is_followed_by_a_probe(outcome: Outcome) -> None:
    """A request of its own: the same device, as many GPUs."""
    gpu = Gpu(GIB)
    assert gpu.fault_after(outcome) == ""
    assert gpu.probed == [ProbeRequest(device="cuda", gpus=1)]


def test_memory_may_take_a_moment_to_come_back() -> None:
    """The driver is given time; what is gone then was no leak."""
    assert Gpu(GIB, 3 * GIB, 2 * GIB, GIB + SLACK_BYTES).fault_after(Outcome.CRASHED) == ""


def test_memory_that_stays_away_is_a_reason_and_needs_no_probe() -> None:
    """The message says how much, and after which trial."""
    gpu = Gpu(GIB, 3 * GIB)
    said = gpu.fault_after(Outcome.CRASHED)
    assert "cuda:0 holds 2048 MiB more than before honest (" in said
    assert gpu.probed == []


def test_a_stranger_s_memory_is_not_ours() -> None:
    """Somebody else who came to the GPU meanwhile is a doubt about figures, not a fault of the
    device.
    """
    assert Gpu(GIB, 3 * GIB, strangers=frozenset({4711})).fault_after(Outcome.CRASHED) == ""


def test_a_wrong_probe_is_a_reason() -> None:
    """A fault that it found, or an end without an answer."""
    timeout = Cause(Outcome.TIMEOUT, "Timeout", "it took too long")
    said = Gpu(GIB, answer=timeout).fault_after(Outcome.OOM)
    assert "a probe of the device after honest (" in said
    assert "ended as timeout: Timeout: it took too long" in said
    wrong = ProbeResult(faults=("cuda:0: a product of integers is wrong",))
    said = Gpu(GIB, answer=wrong).fault_after(Outcome.OOM)
    assert said.endswith("found cuda:0: a product of integers is wrong")


def test_a_process_that_cannot_be_killed_is_a_reason_even_after_an_answer() -> None:
    """It may still compute."""
    assert "process 17 of honest (" in Gpu(GIB).fault_after(Outcome.OK, left_alive=(17,))


@pytest.mark.parametrize(
    ("message", "is_one"),
    [
        ("CUDA error: an illegal memory access was encountered", True),
        ("CUDA error: device-side assert triggered", True),
        ("Triton Error [CUDA]: misaligned address", True),
        ("CUDA error: unspecified launch failure", True),
        ("CUDA driver error: CUDA_ERROR_ILLEGAL_ADDRESS", True),
        ("CUDA error 719", True),
        ("CUDA out of memory. Tried to allocate 2.00 GiB", False),
        ("CUDA error: invalid configuration argument", False),
        ("three is not a head count", False),
    ],
)
def test_errors_that_break_a_context_are_told_from_others(message: str, is_one: bool) -> None:
    """By what the runtime, the driver and Triton say."""
    record = ended(Outcome.FAILED, message)
    assert is_device_fault(record) is is_one
    assert (DEVICE_FAULT in noted(record).notes) is is_one


def test_a_cpu_has_no_device_faults_and_an_honest_outcome_is_none() -> None:
    """A mismatch whose text speaks of an address is a mismatch."""
    text = "an illegal memory access was encountered"
    assert not is_device_fault(ended(Outcome.FAILED, text, device="cpu"))
    assert not is_device_fault(ended(Outcome.MISMATCH, text))


def test_an_unclean_device_is_noted_once() -> None:
    """Whatever the outcome was."""
    record = noted(noted(ended(Outcome.OOM), "memory is not back"), "memory is not back")
    assert record.notes == (DEVICE_FAULT,)


def test_the_probe_finds_nothing_wrong_with_what_is_right() -> None:
    """Run on the CPU, which is right."""
    assert device_probe.fault_of("cpu") is None


@pytest.mark.parametrize("wrong", [lambda x: x + 1, lambda x: torch.zeros_like(x)])
def test_the_probe_finds_a_device_that_errs(
    monkeypatch: pytest.MonkeyPatch, wrong: Callable[[Any], Any]
) -> None:
    """A product that is off anywhere is found."""
    product = torch.Tensor.__matmul__
    calls: list[int] = []

    def errs_first(left: Any, right: Any) -> Any:
        calls.append(1)
        return wrong(product(left, right)) if len(calls) == 1 else product(left, right)

    monkeypatch.setattr(torch.Tensor, "__matmul__", errs_first)
    assert device_probe.fault_of("cpu") == "a product of integers is wrong"


def test_a_probe_asks_every_gpu_of_the_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two GPUs, two probes; what is wrong with either is said of it."""
    asked: list[str] = []

    def fault_of(device: str) -> str | None:
        asked.append(device)
        return "it is ill" if device == "cuda:2" else None

    monkeypatch.setattr(device_probe, "fault_of", fault_of)
    found = device_probe.probe(ProbeRequest(device="cuda:1", gpus=2).model_dump_json())
    assert asked == ["cuda:1", "cuda:2"]
    assert found == ProbeResult(faults=("cuda:2: it is ill",))
