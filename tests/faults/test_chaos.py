"""A random mix of faults, kills and restarts under a fixed seed: every attempt ends once, rightly,
and alone.
"""

from __future__ import annotations

import os
import random
import signal
import threading

import pytest

from orchestrator.isolation import proc
from orchestrator.isolation.isolator import Isolator
from orchestrator.outcome import Outcome
from tests.faults.table import FAULTS, Fault
from tests.faults.trials import attempt_of, gone, light_isolator, napping, of_our_isolators

SLOW = {"answers_hugely", "eats_memory", "eats_memory_by_proxy", "prints_a_lot", "raises_at_length"}
QUICK = [fault for fault in FAULTS if fault.build not in SLOW]
KILLS_EVERY = 8


@pytest.mark.parametrize(
    ("seed", "count"),
    [(20261122, 40), pytest.param(7, 200, marks=pytest.mark.slow)],
    ids=["short", "long"],
)
def test_a_random_mix_of_faults_and_kills(seed: int, count: int) -> None:
    """One record for each attempt, its outcome the fault's own or, where someone killed it, lost;
    nobody is left.
    """
    draw = random.Random(seed)
    before = set(of_our_isolators())
    with light_isolator() as isolator:
        for _ in range(count):
            _one(draw, isolator)
    assert set(of_our_isolators()) == before
    assert gone(napping)


def _one(draw: random.Random, isolator: Isolator) -> None:
    fault, disturbed = draw.choice(QUICK), draw.randrange(KILLS_EVERY) == 0
    attempt = attempt_of(
        fault.build, min(fault.timeout_s, 0.3 if fault.outcome == "timeout" else 60.0)
    )
    timer = threading.Timer(draw.random() * 0.2, draw.choice(DISTURBANCES), [isolator])
    if disturbed:
        timer.start()
    record = isolator.run(attempt).record
    if disturbed:
        timer.join()
    assert record.key == attempt.key
    assert record.outcome in _allowed(fault, disturbed), (fault.build, record.error)
    assert gone(napping)


def _allowed(fault: Fault, disturbed: bool) -> set[str]:
    return {fault.outcome, str(Outcome.LOST)} if disturbed else {fault.outcome}


def _kill_keeper(isolator: Isolator) -> None:
    _kill(isolator.processes()[:1])


def _kill_server(isolator: Isolator) -> None:
    _kill(isolator.processes()[1:2])


def _kill(victims: list[int]) -> None:
    for pid in victims:
        if pid in proc.descendants(os.getpid()):
            os.kill(pid, signal.SIGKILL)


DISTURBANCES = (Isolator.kill, _kill_keeper, _kill_server)
