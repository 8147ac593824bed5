"""What a driver's Ray leaves is ended when the driver is gone, however it went; nobody else's is
touched.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.errors import UnfitMachineError
from orchestrator.executors import cleanup
from orchestrator.executors.cleanup import CleanupProcess, clear
from orchestrator.isolation import proc

ROOT = Path(__file__).parents[3]
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('up', flush=True)\ntime.sleep(600)"
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
            [sys.executable, "-c", STUBBORN],
            env={**os.environ, **marks},
            stdout=subprocess.PIPE,
            text=True,
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
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert driver.stdout is not None
    pid, folder = driver.stdout.readline().split()
    driver.kill()
    driver.communicate()
    assert _within(5, lambda: not proc.is_alive(int(pid)) and not Path(folder).exists())


def test_what_an_isolator_started_is_left_to_its_keeper_at_first(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A keeper ends what is below it by descent; killed together with it, an orphan without a mark
    would live on.
    """
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


def test_the_next_sweep_clears_up_after_a_driver_and_its_sentinel(
    start: Start, scratch: Path
) -> None:
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


def test_nothing_that_lies_in_the_temporary_folder_stops_a_sweep(scratch: Path) -> None:
    """Whoever has an account on the machine may put anything there: a pipe that is never written, a
    link, a folder.
    """
    namespace, pid, ticks = proc.mark().split("/")
    dead = f"{namespace}/{pid}/{int(ticks) + 1}"
    for name in ("pipe", "folder", "link", "mine"):
        (scratch / f"sweep-{name}").mkdir()
    os.mkfifo(scratch / "sweep-pipe" / "driver")
    (scratch / "sweep-folder" / "driver").mkdir()
    (scratch / "elsewhere").write_text(dead)
    (scratch / "sweep-link" / "driver").symlink_to(scratch / "elsewhere")
    (scratch / "sweep-file").write_text(dead)
    (scratch / "sweep-mine" / "driver").write_text(dead)
    cleanup.clear_up_after_others()
    assert {path.name for path in scratch.glob("sweep-*")} == {
        "sweep-pipe",
        "sweep-folder",
        "sweep-link",
        "sweep-file",
    }


def test_folders_of_another_user_are_left_alone(
    scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever they say of their driver."""
    namespace, pid, ticks = proc.mark().split("/")
    (scratch / "sweep-theirs").mkdir()
    (scratch / "sweep-theirs" / "driver").write_text(f"{namespace}/{pid}/{int(ticks) + 1}")
    own = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: own + 1)
    cleanup.clear_up_after_others()
    assert (scratch / "sweep-theirs").exists()


def test_a_temporary_folder_that_is_too_deep_for_rays_sockets_is_not_used(
    scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slurm's are; a short place is taken, and is looked into by the next sweep, too."""
    short = scratch / "short"
    short.mkdir()
    deep = scratch / ("d" * 60)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    monkeypatch.setattr(cleanup, "SHORT_PLACES", (str(short),))
    limit = len(os.fsencode(short)) + 20
    folder = cleanup.temporary_folder("a mark", limit)
    assert folder.parent == short
    assert (folder / "driver").read_text() == "a mark"
    assert cleanup.temporary_folder("a mark").parent == deep
    with pytest.raises(UnfitMachineError, match="set TMPDIR to a folder of at most 5 characters"):
        cleanup.temporary_folder("a mark", 20)


def _within(seconds: float, condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
