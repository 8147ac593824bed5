"""Whoever ends a sweep, and however: nothing of it stays. A sentinel of the driver's waits for its end and clears up.

Ray's servers die with a driver that is killed, but not all of its workers do (one that was just starting waits for its
raylet for a minute), and nobody removes Ray's folder. Run as
`python -m orchestrator.executors.cleanup MARK FOLDER`; the end of its standard input is the end of the driver.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from orchestrator.files import PACKAGE
from orchestrator.isolation import proc

# A supervisor that dies is noticed by its keeper, which ends its own by descent, unmarked ones too: let it.
KEEPERS_S = 3.0
CLEAR_S = 8.0
_PREFIX = "sweep-"
_OWNER = "driver"
_EVERY_S = 0.02


class CleanupProcess:
    """A process beside the driver, to end what the driver's Ray leaves and to remove its folder.

    Attributes:
        folder: a new folder for Ray's files, gone when the sweep is.
        mark: the value of proc.DRIVER_MARK that the processes to be ended have in their environment.
    """

    def __init__(self) -> None:
        self.mark = proc.mark()
        self.folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        (self.folder / _OWNER).write_text(self.mark)
        environment = {name: value for name, value in os.environ.items() if name != proc.DRIVER_MARK}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "orchestrator.executors.cleanup", self.mark, str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={**environment, "PYTHONPATH": str(PACKAGE.parent)},
        )

    def close(self) -> None:
        """The sweep is over: wait until nothing of it is left. A second call does nothing."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        with suppress(subprocess.TimeoutExpired):  # what cannot be killed is not waited for
            self._process.wait(KEEPERS_S + CLEAR_S)


def clear(find: Callable[[], Iterable[int]]) -> list[int]:
    """End the processes that `find` finds, again and again until it finds none; those that would not die.

    Those that an isolator did not start go first, so that keepers can end the others their way (see fork_server.py).
    """
    deadline = time.monotonic() + CLEAR_S
    keepers = time.monotonic() + KEEPERS_S

    def to_end() -> list[int]:
        waits = time.monotonic() < keepers
        return [pid for pid in _alive(find) if not (waits and proc.has_mark(pid))]

    while (left := _alive(find)) and time.monotonic() < deadline:
        proc.end(to_end)
        time.sleep(_EVERY_S)
    return left


def clear_up_after_others() -> None:
    """End what drivers that are no more left on this machine, and remove their folders: their sentinels died, too."""
    clear(lambda: proc.abandoned(proc.DRIVER_MARK))
    for owner in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*/{_OWNER}"):
        with suppress(OSError):
            if proc.is_ownerless(owner.read_text()):
                shutil.rmtree(owner.parent, ignore_errors=True)


def _alive(find: Callable[[], Iterable[int]]) -> list[int]:
    return [pid for pid in find() if pid != os.getpid() and proc.is_alive(pid)]


def main(mark: str, folder: str) -> None:
    """Be the sentinel of the driver that has this mark."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    clear(lambda: proc.marked(mark, proc.DRIVER_MARK))
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
