"""The same faults under the real worker: what happens inside an implementation is told apart by
whoever sees it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.isolation import proc
from orchestrator.isolation.isolator import Isolator
from orchestrator.outcome import Outcome
from orchestrator.trial import Attempt
from tests.faults.table import FAULTS, Fault
from tests.faults.test_faults import KEEPER_AND_SERVER, check
from tests.faults.trials import attempt_of, napping

ROOT = Path(__file__).parents[2]
WORKLOAD = f"{ROOT / 'benchmarks/trivial.py'}:workload"


@pytest.fixture(scope="module")
def warm() -> Iterator[Isolator]:
    """An isolator as sweeps use it: torch imported, the real worker."""
    with Isolator(sys_path=[str(ROOT), *sys.path]) as isolator:
        yield isolator


def real(build: str, timeout_s: float = 60.0, memory_gib: float | None = None) -> Attempt:
    """An attempt of the trivial workload."""
    return attempt_of(build, timeout_s, memory_gib, workload=WORKLOAD, number=1)


@pytest.mark.parametrize(
    "fault", [fault for fault in FAULTS if not fault.processes_only], ids=lambda f: f.build
)
def test_a_fault_inside_a_real_trial_is_its_row_s(fault: Fault, warm: Isolator) -> None:
    """The worker says what it caught, the supervisor what the worker could not."""
    done = warm.run(real(fault.build, fault.timeout_s, fault.memory_gib))
    check(fault, done)
    assert done.left_alive == ()
    assert napping() == []
    assert len(warm.processes()) in (0, KEEPER_AND_SERVER)


def test_no_setting_of_one_trial_reaches_the_next(warm: Isolator) -> None:
    """Torch's own included: default dtype, threads, gradients, tf32, determinism."""
    untouched = warm.run(real("tells_the_world")).log
    warm.run(real("changes_the_world"))
    assert b"torch.float32" in untouched
    assert warm.run(real("tells_the_world")).log == untouched


def test_the_right_answer_after_a_fault(warm: Isolator) -> None:
    """The next trial on the same slot is measured and verified as ever."""
    warm.run(real("segfaults"))
    attempt = real("sound")
    doubles = attempt.trial.model_copy(
        update={"use": f"{ROOT / 'benchmarks/trivial.py'}:build", "options": {}}
    )
    record = warm.run(attempt.model_copy(update={"trial": doubles})).record
    assert record.outcome is Outcome.OK, record.error
    assert record.metrics is not None
    assert record.metrics["relative_error"] == 0.0


def test_the_server_forks_soundly(warm: Isolator) -> None:
    """One thread, torch and all: a fork copies one thread, and a lock held by another would stay
    locked.
    """
    warm.run(real("sound"))
    _, server = warm.processes()
    assert len(list((Path("/proc") / str(server) / "task").iterdir())) == 1
    assert proc.is_alive(server)
