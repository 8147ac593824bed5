"""What the tests of faults share: attempts that name a fault, and a census of processes."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.isolate import Isolator
from orchestrator.proc import every_pid, is_alive
from orchestrator.spec import MeasureSpec, VerifySpec
from orchestrator.trial import Attempt, Resources, Trial

HERE = Path(__file__).parent
MakeAttempt = Callable[..., Attempt]


@pytest.fixture(scope="session")
def make_attempt() -> MakeAttempt:
    """Attempts of the build functions in faulty.py."""

    def make(build: str, timeout_s: float = 60.0, memory_gib: float | None = None, **params: object) -> Attempt:
        use = f"{HERE / 'faulty.py'}:{build}"
        return Attempt(
            sweep_id="20261122_000000",
            trial=Trial.of(implementation=build, use=use, params=params, options={}),
            workload="none",
            base_dir=str(HERE),
            device="cpu",
            seed=0,
            protocol=MeasureSpec().for_device("cpu"),
            verify=VerifySpec(),
            resources=Resources(cpus=1, timeout_s=timeout_s, host_memory_gib=memory_gib),
        )

    return make


@pytest.fixture(scope="module")
def isolator() -> Iterator[Isolator]:
    """An isolator whose worker needs no torch."""
    with Isolator(target="stand_in:run_attempt", sys_path=[str(HERE), *sys.path]) as isolator:
        yield isolator


@pytest.fixture
def nothing_left() -> Iterator[Callable[[], list[int]]]:
    """The processes alive now that were not when the test began; none may be left at its end."""
    before = set(every_pid())

    def fresh() -> list[int]:
        return [pid for pid in every_pid() if pid not in before and is_alive(pid) and pid != os.getpid()]

    yield fresh
    time.sleep(0)
