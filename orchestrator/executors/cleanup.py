"""Cleans up after the driver, however it ends.

A helper process waits for the driver to exit, kills what it left running and removes Ray's folder.
Ray's servers die with a driver that is killed, but not all of its workers do (one that was just
starting waits a minute for its raylet), and nobody removes Ray's folder. Run as `python -m
orchestrator.executors.cleanup MARK FOLDER`; the end of its standard input is the end of the driver.
"""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from orchestrator.errors import UnfitMachineError
from orchestrator.isolation import proc
from orchestrator.util.files import MAX_RAY_FOLDER_BYTES, PACKAGE

# A keeper notices the death of its supervisor, and ends its descendants, unmarked ones too.
KEEPERS_S = 3.0
CLEAR_S = 8.0
SHORT_PLACES = ("/tmp", "/var/tmp")  # noqa: S108 - folders with random names of our own are made there
_PREFIX = "sweep-"
_OWNER = "driver"
_MAX_MARK_BYTES = 200
_EVERY_S = 0.02


class CleanupProcess:
    """The helper process of a driver: ends what its Ray leaves, and removes its folder.

    Attributes:
        folder: a new folder for Ray's files, gone when the sweep is.
        mark: the value of proc.DRIVER_MARK that the processes to be ended have in their
            environment.
    """

    def __init__(self) -> None:
        self.mark = proc.mark()
        self.folder = temporary_folder(self.mark, MAX_RAY_FOLDER_BYTES)
        environment = os.environ | {"PYTHONPATH": str(PACKAGE.parent)}
        environment.pop(proc.DRIVER_MARK, None)  # or it would end itself
        module = "orchestrator.executors.cleanup"
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", module, self.mark, str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env=environment,
        )

    def close(self) -> None:
        """Wait until nothing of the sweep is left. A second call does nothing."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        with suppress(subprocess.TimeoutExpired):  # do not wait for what cannot be killed
            self._process.wait(KEEPERS_S + CLEAR_S)


def clear(find: Callable[[], Iterable[int]]) -> list[int]:
    """End the processes that `find` lists until there are none; those that would not die.

    Processes of an isolator get KEEPERS_S of time first: their keepers end them (see
        fork_server.py).
    """
    begun = time.monotonic()

    def to_end() -> list[int]:
        pids = _alive(find)
        if time.monotonic() >= begun + KEEPERS_S:
            return pids
        return [pid for pid in pids if not proc.has_mark(pid)]

    left = _alive(find)
    while left and time.monotonic() < begun + CLEAR_S:
        proc.end(to_end)
        time.sleep(_EVERY_S)
        left = _alive(find)
    return left


def clear_up_after_others() -> None:
    """End what drivers that have ended left on this machine, and remove their folders.

    Only this user's own folders: anybody may make a folder of such a name in a shared place.
    """
    clear(lambda: proc.abandoned(proc.DRIVER_MARK))
    for place in _places():
        for folder in place.glob(f"{_PREFIX}*"):
            with suppress(OSError):
                if proc.is_ownerless(_owner_of(folder)):
                    shutil.rmtree(folder, ignore_errors=True)


def temporary_folder(mark: str, max_bytes: int | None = None) -> Path:
    """A new folder of the driver with this mark; a later driver removes it if that one cannot.

    Args:
        mark: of the driver.
        max_bytes: the longest path that will do; where TMPDIR is longer, a shorter place is taken.

    Raises:
        UnfitMachineError: there is none that can be written.
    """
    random_part = 8
    for place in _places():
        length = len(os.fsencode(place / _PREFIX)) + random_part
        if max_bytes is not None and length > max_bytes:
            continue
        with suppress(OSError):
            folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
            (folder / _OWNER).write_text(mark)
            return folder
    wanted = "a folder"
    if max_bytes is not None:
        wanted += f" of at most {max_bytes - random_part - len(_PREFIX) - 1} characters"
    tried = ", ".join(map(str, _places()))
    raise UnfitMachineError(f"no temporary folder can be made in {tried}: set TMPDIR to {wanted}")


def _places() -> list[Path]:
    """Places of temporary folders: TMPDIR, then short ones, for the length of Ray's sockets."""
    found: list[Path] = []
    for name in (tempfile.gettempdir(), *SHORT_PLACES):
        place = Path(name)
        if place.is_dir() and place not in found:
            found.append(place)
    return found


def _owner_of(folder: Path) -> str:
    """The mark in a folder of this user's; "" without one. Never blocks, not even on a pipe."""
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        return ""
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(folder / _OWNER, flags)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return ""
        return os.read(descriptor, _MAX_MARK_BYTES).decode(errors="replace")
    finally:
        os.close(descriptor)


def _alive(find: Callable[[], Iterable[int]]) -> list[int]:
    return [pid for pid in find() if pid != os.getpid() and proc.is_alive(pid)]


def main(mark: str, folder: str) -> None:
    """Run the helper process of the driver that has this mark."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    clear(lambda: proc.marked(mark, proc.DRIVER_MARK))
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
