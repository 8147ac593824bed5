"""What a driver's Ray leaves is ended when the driver is gone, however it went; nobody else's is touched."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.executors import cleanup
from orchestrator.executors.cleanup import CleanupProcess, clear
from orchestrator.isolation import proc

ROOT = Path(__file__).parents[2]
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('up', flush=True)\ntime.sleep(600)"
)
# A driver that has started what is marked as its own, and is killed without a chance to clean up.
DRIVER = """
import os, subprocess, sys, time
from orchestrator.isolation import proc
from orchestrator.executors.cleanup import CleanupProcess
sentinel = CleanupProcess()
marked = {**os.environ, proc.DRIVER_MARK: sentinel.mark}
sleeper = subprocess.Popen(["sleep", "600"], env=marked, start_new_session=True)
print(sleeper.pid, sentinel.folder, flush=True)
time.sleep(600)
"""

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a stubborn process that is marked so; ends them all."""
    started: list[subprocess.Popen[str]] = []

    def begin(**marks: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", STUBBORN], env={**os.environ, **marks}, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Temporary folders are made here."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def test_the_end_of_the_sentinel_is_the_end_of_all_that_is_marked(start: Start) -> None:
    """Deaf to SIGTERM or not; the folder goes, too. Another driver's stay."""
    sentinel = CleanupProcess()
    ours = start(**{proc.DRIVER_MARK: sentinel.mark})
    namespace, pid, ticks = sentinel.mark.split("/")
    others = start(**{proc.DRIVER_MARK: f"{namespace}/{pid}/{ticks}1"})
    assert sentinel.folder.is_dir()
    sentinel.close()
    assert ours.wait(5) < 0
    assert others.poll() is None
    assert not sentinel.folder.exists()
    sentinel.close()


def test_a_driver_that_is_killed_leaves_nothing() -> None:
    """Neither processes nor a folder."""
    driver = subprocess.Popen([sys.executable, "-c", DRIVER], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert driver.stdout is not None
    pid, folder = driver.stdout.readline().split()
    driver.kill()
    driver.communicate()
    assert _within(5, lambda: not proc.is_alive(int(pid)) and not Path(folder).exists())


def test_what_an_isolator_started_is_left_to_its_keeper_at_first(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """A keeper ends what is below it by descent; killed together with it, an orphan without a mark would live on."""
    monkeypatch.setattr(cleanup, "KEEPERS_S", 0.3)
    supervisor = start(**{proc.DRIVER_MARK: "a/b/c"})
    keeper = start(**{proc.DRIVER_MARK: "a/b/c", proc.MARK: "a/b/c/d"})
    ends: dict[str, float] = {}

    def find() -> list[int]:
        for name, process in (("supervisor", supervisor), ("keeper", keeper)):
            if process.poll() is not None:
                ends.setdefault(name, time.monotonic())
        return proc.marked("a/b/c", proc.DRIVER_MARK)

    assert clear(find) == []
    assert ends["keeper"] - ends["supervisor"] > 0.2


def test_the_next_sweep_clears_up_after_a_driver_and_its_sentinel(start: Start, scratch: Path) -> None:
    """Both killed at once; what belongs to a driver that lives is not touched."""
    namespace, pid, ticks = proc.mark().split("/")
    dead = f"{namespace}/{pid}/{int(ticks) + 1}"
    folders = {mark: scratch / f"sweep-{number}" for number, mark in enumerate((dead, proc.mark()))}
    for mark, folder in folders.items():
        folder.mkdir()
        (folder / "driver").write_text(mark)
    left, living = (start(**{proc.DRIVER_MARK: mark}) for mark in folders)
    cleanup.clear_up_after_others()
    assert left.wait(5) < 0
    assert living.poll() is None
    assert [folder.exists() for folder in folders.values()] == [False, True]


def _within(seconds: float, condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
