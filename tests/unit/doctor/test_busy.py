"""Before a sweep measures, whoever uses the machine is named, with what that does and what to do."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.doctor import busy, host
from orchestrator.doctor.host import Busy
from tests.unit.doctor.test_checkup import FakeNvml

TRAINING = Busy("python", 76.0, 1234, "python train.py")


def look(monkeypatch: pytest.MonkeyPatch, used: float, *processes: Busy) -> None:
    """Have the machine look like this."""
    monkeypatch.setattr(host, "busiest", lambda _seconds: (used, list(processes)))


def test_a_quiet_machine_is_not_mentioned(monkeypatch: pytest.MonkeyPatch) -> None:
    """No line where there is nothing to do."""
    look(monkeypatch, 0.2)
    assert busy.notices("cpu", cores=2) == []


def test_who_keeps_the_cores_busy_is_named_with_what_it_does_and_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The process by name and pid, the flag that rows will have, and the command that shows more."""
    look(monkeypatch, 1.4, TRAINING)
    first, *rest = busy.notices("cpu", cores=2)
    assert (
        first
        == "this machine is busy: 1.4 of 2 cores are in use by others: python train.py (pid 1234) 76 %"
    )
    assert "flagged contended" in rest[-1]
    assert "`orchestrator doctor`" in rest[-1]


def test_a_gpu_bears_more_company_on_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its figures are the device's."""
    look(monkeypatch, 1.4, TRAINING)
    assert busy.notices("cuda", cores=2) == []
    assert busy.notices("cuda", cores=1)


@pytest.mark.parametrize(
    ("command", "is_orchestrator"),
    [
        ("python -m orchestrator sweeps/quick.yaml", True),
        ("orchestrator run sweeps/quick.yaml", True),
        ("python /opt/venv/bin/orchestrator resume last", True),
        ("python -P -m orchestrator.isolation.fork_server 42", False),
        ("python /opt/venv/bin/orchestrator try ./mine.py:build", True),
        ("vim orchestrator.py", False),
    ],
)
def test_another_command_of_ours_on_the_machine_is_named_as_one(
    command: str, is_orchestrator: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both will find the other in their figures."""
    look(monkeypatch, 2.0, Busy("python", 99.0, 77, command))
    said = "\n".join(busy.notices("cpu", cores=2))
    assert ("another orchestrator is at work on this machine (pid 77)" in said) == is_orchestrator


def test_whoever_is_on_the_gpu_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """By what the driver tells of it."""
    look(monkeypatch, 0.0)
    used = SimpleNamespace(gpu=98, memory=40)

    @contextmanager
    def session() -> Any:
        yield FakeNvml(nvmlDeviceGetUtilizationRates=used)

    monkeypatch.setattr(busy.nvml, "session", session)
    first, *_ = busy.notices("cuda", cores=2)
    assert first.startswith("GPU 0 is not free: ")
    assert "98 % in use" in first
