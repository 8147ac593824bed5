"""The first signal is noted, the second has its old effect, and afterwards everything is as it was."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from orchestrator.driver.signals import HANDLED, Signals
from orchestrator.errors import InterruptedSweepError


@pytest.fixture(autouse=True)
def heard() -> Iterator[list[int]]:
    """Handlers of our own stand for whatever was there before; restored at the end."""
    heard: list[int] = []
    before = {
        number: signal.signal(number, lambda signum, _: heard.append(signum)) for number in HANDLED
    }
    yield heard
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", HANDLED)
def test_the_first_is_noted_and_the_second_has_its_old_effect(
    number: int, heard: list[int]
) -> None:
    """Whoever is impatient need not wait for a clean end."""
    with Signals() as signals:
        os.kill(os.getpid(), number)
        assert (signals.received, heard) == (number, [])
        os.kill(os.getpid(), number)
        assert heard == [number]


def test_an_inner_exit_gives_nothing_back(heard: list[int]) -> None:
    """The sweep is over, its tracking is not."""
    with Signals() as signals:
        with signals:
            pass
        os.kill(os.getpid(), signal.SIGTERM)
    assert (signals.received, heard) == (signal.SIGTERM, [])
    os.kill(os.getpid(), signal.SIGTERM)
    assert heard == [signal.SIGTERM]


def test_a_handler_that_was_taken_away_is_taken_back_by_whoever_waits(heard: list[int]) -> None:
    """Ray gives SIGTERM its default effect when it ends."""
    with Signals() as signals:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        assert not signals.have_come()
        os.kill(os.getpid(), signal.SIGTERM)
        assert signals.have_come()


def test_in_another_thread_signals_stay_their_owner_s(heard: list[int]) -> None:
    """A sweep run from a notebook's thread leaves them alone."""

    def enter() -> None:
        with Signals() as signals:
            assert not signals.have_come()

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    os.kill(os.getpid(), signal.SIGINT)
    assert heard == [signal.SIGINT]


def test_the_way_on_is_the_last_word_and_a_shell_takes_it() -> None:
    """Nothing stands behind the command, and a directory with a space is quoted."""
    error = InterruptedSweepError(signal.SIGTERM, "my results")
    assert error.exit_code == 143
    assert str(error).endswith("orchestrator resume 'my results'")
    assert (
        str(InterruptedSweepError(signal.SIGINT, None))
        == "interrupted by SIGINT; start the sweep again"
    )
