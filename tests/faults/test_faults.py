"""Every fault of the table ends as one row that says what happened, and leaves nothing and nobody
behind.
"""

from __future__ import annotations

import pytest

from orchestrator.isolation.isolator import Completed, Isolator
from orchestrator.isolation.output import MAX_LOG_BYTES
from orchestrator.record import MAX_MESSAGE
from tests.faults.table import FAULTS, Fault
from tests.faults.trials import attempt_of, light_isolator, napping, of_our_isolators

KEEPER_AND_SERVER = 2


@pytest.fixture(scope="module")
def untouched_world() -> bytes:
    """What global state an attempt finds that nothing went before."""
    with light_isolator() as fresh:
        return fresh.run(attempt_of("tells_the_world")).log


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.build)
def test_a_fault_is_its_trial_s_business(
    fault: Fault, isolator: Isolator, untouched_world: bytes
) -> None:
    """The row has the outcome and says why, nothing lives on, and the next trial finds the world
    untouched.
    """
    attempt = attempt_of(fault.build, fault.timeout_s, fault.memory_gib)

    done = isolator.run(attempt)

    check(fault, done)
    assert done.record.key == attempt.key
    assert done.left_alive == ()
    assert napping() == []
    assert len(isolator.processes()) in (0, KEEPER_AND_SERVER)
    assert isolator.run(attempt_of("tells_the_world")).log == untouched_world


def check(fault: Fault, done: Completed) -> None:
    """The outcome and all words that the table asks for; caps kept, the log named."""
    record, log = done.record, done.log.decode(errors="replace")
    said = "" if record.error is None else f"{record.error.kind}: {record.error.message}"
    assert record.outcome == fault.outcome, said + log[-2000:]
    assert [words for words in fault.says if words not in said] == [], said
    assert [words for words in fault.logs if words not in log] == [], log[-2000:]
    assert len(done.log) <= MAX_LOG_BYTES
    assert len(said.encode()) <= MAX_MESSAGE + 200
    if record.error is not None:
        assert record.error.log == f"logs/{record.trial_id}.log"


def test_nothing_is_left_when_the_isolator_is_closed() -> None:
    """Closing right after a fault ends server, keeper and all they ever started."""
    before = set(of_our_isolators())
    with light_isolator() as isolator:
        isolator.run(attempt_of("leaves_a_family"))
        assert set(of_our_isolators()) > before
    assert set(of_our_isolators()) == before
    assert napping() == []
