"""Processes made ready ahead: whose they are, what ends them, what they leave behind."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from orchestrator.isolation import proc
from orchestrator.isolation.isolator import Completed, Isolator
from orchestrator.isolation.standby import FEWEST
from orchestrator.outcome import Outcome
from orchestrator.trial import Attempt
from tests.faults.trials import HERE, attempt_of, gone, light_isolator, napping, of_our_isolators

COUNT = 6
READY = """
import os
from pathlib import Path

def ready():
    with (Path(__file__).with_name("readied")).open("a") as file:
        file.write(f"{os.getpid()} {os.environ.get('KIND')} {os.getcwd()}\\n")

def fails():
    raise RuntimeError("no such device")

def exits():
    os._exit(3)

def prints():
    print("made ready")
"""
TELLS = """
import os, time

def build(config):
    print("in", os.getpid())
    return lambda: float(os.getpid())

def sleeps(config):
    def call():
        time.sleep(0.3)
        return float(os.getpid())
    return call
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "made_ready.py").write_text(READY)
    (tmp_path / "tells.py").write_text(TELLS)
    return tmp_path


def isolator_of(folder: Path, function: str = "ready") -> Isolator:
    return Isolator(
        target="stand_in:run_attempt",
        sys_path=[str(folder), str(HERE), *sys.path],
        env={"KIND": "standby"},
        ready_by=f"made_ready:{function}",
    )


def tells(folder: Path, name: str = "build") -> Attempt:
    attempt = attempt_of("sound")
    trial = attempt.trial.model_copy(update={"use": f"{folder / 'tells.py'}:{name}"})
    return attempt.model_copy(update={"trial": trial})


def ran_in(done: Completed) -> int:
    """The pid that an attempt answered."""
    assert done.record.metrics is not None
    assert done.record.metrics["value"] is not None
    return int(done.record.metrics["value"])


def test_attempts_run_one_after_another_in_the_processes_that_wait(folder: Path) -> None:
    """Each process has one attempt; when none waits the next is forked as ever."""
    with isolator_of(folder) as isolator:
        standing = isolator.make_ready(COUNT)
        assert len(standing) == COUNT
        ran = []
        for number in range(COUNT):
            done = isolator.run(tells(folder), made_ready=True)
            assert done.record.outcome is Outcome.OK, done.record.error
            pid = ran_in(done)
            assert done.log.decode() == f"in {pid}\n"
            ran.append(pid)
            alive = [one for one in standing if proc.is_alive(one)]
            assert len(alive) == COUNT - 1 - number  # the end of one attempt ends no other process
            assert pid not in alive
        assert set(ran) == standing
        other = isolator.run(tells(folder), made_ready=True)
        assert ran_in(other) not in standing
        lines = (folder / "readied").read_text().split("\n")
        assert sorted(int(line.split()[0]) for line in lines if line) == sorted(standing)
        assert {tuple(line.split()[1:]) for line in lines if line} == {("standby", os.getcwd())}
        again = isolator.make_ready(COUNT)
        assert len(again) == COUNT
        assert standing.isdisjoint(again)
    assert gone(of_our_isolators)


def test_they_are_made_once_and_used_by_no_attempt_that_may_not(folder: Path) -> None:
    with isolator_of(folder) as isolator:
        standing = isolator.make_ready(COUNT)
        assert isolator.make_ready(COUNT) == standing
        assert isolator.make_ready(0) == standing
        plain = isolator.run(tells(folder))
        assert ran_in(plain) not in standing
        assert all(proc.is_alive(pid) for pid in standing)
        assert set(isolator.family()).isdisjoint(standing)
    with light_isolator() as without:
        assert without.make_ready(COUNT) == frozenset()


def test_a_few_are_not_made_ready_for_and_those_that_wait_are_used(folder: Path) -> None:
    with isolator_of(folder) as isolator:
        assert isolator.make_ready(FEWEST - 1) == frozenset()
        assert isolator.run(tells(folder), made_ready=True).record.outcome is Outcome.OK
        standing = isolator.make_ready(FEWEST)
        assert len(standing) == FEWEST
        for left in range(FEWEST, 0, -1):
            assert len(isolator.make_ready(left)) == left
            assert ran_in(isolator.run(tells(folder), made_ready=True)) in standing
        assert isolator.make_ready(FEWEST - 1) == frozenset()


@pytest.mark.parametrize(
    "fault", ["segfaults", "hangs_with_a_family", "exits", "leaves_a_family", "kills_its_group"]
)
def test_a_fault_in_one_attempt_ends_what_it_started_and_no_standby(
    folder: Path, fault: str
) -> None:
    with isolator_of(folder) as isolator:
        standing = isolator.make_ready(COUNT)
        isolator.run(attempt_of(fault, timeout_s=2.0), made_ready=True)
        assert napping() == []
        alive = [pid for pid in standing if proc.is_alive(pid)]
        assert len(alive) == COUNT - 1
        assert isolator.run(tells(folder), made_ready=True).record.outcome is Outcome.OK
    assert gone(of_our_isolators)


def test_one_that_was_killed_while_it_waited_is_passed_over(folder: Path) -> None:
    with isolator_of(folder) as isolator:
        standing = isolator.make_ready(COUNT)
        for pid in sorted(standing)[:-1]:
            os.kill(pid, signal.SIGKILL)
        last = max(standing)
        while sum(proc.is_alive(pid) for pid in standing) > 1:
            time.sleep(0.01)
        done = isolator.run(tells(folder), made_ready=True)
        assert done.record.outcome is Outcome.OK
        assert ran_in(done) == last


def test_dismissed_they_end_and_the_next_ones_are_others(folder: Path) -> None:
    with isolator_of(folder) as isolator:
        standing = isolator.make_ready(COUNT)
        isolator.dismiss()
        assert not any(proc.is_alive(pid) for pid in standing)
        isolator.dismiss()
        assert standing.isdisjoint(isolator.make_ready(COUNT))


@pytest.mark.parametrize("function", ["fails", "exits", "is_not_there"])
def test_where_none_can_be_made_ready_attempts_run_as_ever(folder: Path, function: str) -> None:
    with isolator_of(folder, function) as isolator:
        for _ in range(2):
            assert isolator.make_ready(COUNT) == frozenset()
            done = isolator.run(tells(folder), made_ready=True)
            assert done.record.outcome is Outcome.OK
            assert b"no such device" not in done.log


def test_what_they_print_is_in_the_log_of_their_attempt(folder: Path) -> None:
    with isolator_of(folder, "prints") as isolator:
        isolator.make_ready(COUNT)
        assert isolator.run(tells(folder), made_ready=True).log.startswith(b"made ready\nin ")


def test_a_restart_and_a_dead_server_take_them_along(folder: Path) -> None:
    with isolator_of(folder) as isolator:
        standing = isolator.make_ready(COUNT)
        isolator.restart()
        assert not any(proc.is_alive(pid) for pid in standing)
        done = isolator.run(tells(folder), made_ready=True)
        assert done.record.outcome is Outcome.OK
        standing = isolator.make_ready(COUNT)
        for pid in isolator.processes():
            if pid not in standing:
                os.kill(pid, signal.SIGKILL)
        assert gone(lambda: [pid for pid in standing if proc.is_alive(pid)])
        assert isolator.run(tells(folder), made_ready=True).record.outcome is Outcome.OK
    assert gone(of_our_isolators)


def test_a_server_that_is_dead_already_costs_no_open_files(folder: Path) -> None:
    """Those that were to be given to it."""
    with isolator_of(folder) as isolator:
        assert isolator.run(tells(folder)).record.outcome is Outcome.OK
        for pid in isolator.processes():
            os.kill(pid, signal.SIGKILL)
        assert gone(lambda: [pid for pid in isolator.processes() if proc.is_alive(pid)])
        before = len(list(Path("/proc/self/fd").iterdir()))
        assert isolator.make_ready(COUNT) == frozenset()
        assert len(list(Path("/proc/self/fd").iterdir())) == before
        assert isolator.run(tells(folder), made_ready=True).record.outcome is Outcome.OK


def test_the_time_limit_of_an_attempt_begins_with_it(folder: Path) -> None:
    """Not with its process."""
    attempt = tells(folder, "sleeps")
    resources = attempt.resources.model_copy(update={"timeout_s": 1.5})
    with isolator_of(folder) as isolator:
        isolator.make_ready(COUNT)
        time.sleep(2)
        done = isolator.run(attempt.model_copy(update={"resources": resources}), made_ready=True)
        assert done.record.outcome is Outcome.OK
