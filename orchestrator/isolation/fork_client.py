"""The supervisor's client of a fork server: starts it, requests attempts, receives their ends."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence

from orchestrator.isolation import messages, proc
from orchestrator.isolation.fork_server import END_TIMEOUT_S

START_TIMEOUT_S = 120.0
_MESSAGE_TIMEOUT_S = 30.0
_LAST_WORDS = 2000
# Credentials that a trial must not see: Ray's token controls the sweep, the log-in its tracked
# runs.
_WITHHELD = ("RAY_AUTH_", "MLFLOW_TRACKING_", "MLFLOW_BACKEND_STORE_URI")


class ServerDiedError(Exception):
    """The fork server has died; the text says what it last printed."""


class ForkClient:
    """A keeper and its server (see fork_server.py), started at once and ready some time later.

    It is a program of its own, not a `multiprocessing` child: so it does not import our `__main__`,
    and does not die with the thread that started it.

    Args:
        preload: modules to import, and "module:function"s to call, before the first fork.
        env: environment variables besides this process's own.
        sys_path: where it finds modules.
        cwd: its current directory, and every attempt's at the start; None: this process's.
    """

    def __init__(
        self,
        preload: Sequence[str],
        env: Mapping[str, str],
        sys_path: Sequence[str],
        cwd: str | None,
    ) -> None:
        self._mark = f"{proc.mark()}/{secrets.token_hex(8)}"
        self._pid: int | None = None
        self._standing: frozenset[int] = frozenset()
        self._failed: list[str] = []
        self.closed = False
        self._words = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the server
        self._sock, theirs = socket.socketpair()
        self._sock.settimeout(_MESSAGE_TIMEOUT_S)
        with theirs:
            self._keeper = subprocess.Popen(
                [
                    sys.executable,
                    "-P",
                    "-m",
                    "orchestrator.isolation.fork_server",
                    str(theirs.fileno()),
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=self._words,
                stderr=self._words,
                start_new_session=True,
                env=self._environment(env, sys_path),
                cwd=cwd,
            )
        with contextlib.suppress(OSError):  # it died already: `ready` reports that
            messages.send(self._sock, {"preload": list(preload)})

    def _environment(self, env: Mapping[str, str], sys_path: Sequence[str]) -> dict[str, str]:
        # One thread while the server imports: a fork is sound in a process of one thread only. And
        # a check whether CUDA is available must not initialise it.
        single = {
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
        }
        own = {name: value for name, value in os.environ.items() if not name.startswith(_WITHHELD)}
        return {
            **own,
            **env,
            **single,
            "PYTHONPATH": os.pathsep.join(sys_path),
            proc.MARK: self._mark,
        }

    def fileno(self) -> int:
        """For polling: readable when a message can be received."""
        return self._sock.fileno()

    def ready(self) -> list[str]:
        """Wait until the server has imported everything; the names in `preload` that failed.

        Raises:
            ServerDiedError: it ended, or took longer than START_TIMEOUT_S.
        """
        if self._pid is None:
            self._sock.settimeout(START_TIMEOUT_S)
            first = self.receive()
            self._pid, self._failed = first["ready"], first["failed"]
            self._sock.settimeout(_MESSAGE_TIMEOUT_S)
        return self._failed

    def start(self, request: messages.Message, files: Sequence[int]) -> None:
        """Fork an attempt; returns once it is forked.

        Args:
            request: see `child.become`; "environments" has the variables of each process.
            files: two open files for each process: for its log and for its result.

        Raises:
            ServerDiedError: nothing was started.
        """
        self.ready()
        self._asked({"run": request}, files)

    def stand_by(self, request: messages.Message, files: Sequence[int]) -> list[int]:
        """Fork processes that wait for an attempt each; their pids, once they are forked.

        Args:
            request: see `child.stand_by`; "count" says how many.
            files: three open files for each process: for its log, its result, and its attempt.

        Raises:
            ServerDiedError: the server has died.
        """
        self.ready()
        found: list[int] = self._asked({"stand_by": request}, files)["standing"]
        self._standing = frozenset(found)
        return found

    def take(self, pid: int) -> bool:
        """Make a process that stands by the one that runs an attempt; False: it has ended.

        Raises:
            ServerDiedError: the server has died.
        """
        started = self._asked({"run": {"standby": pid}})["started"]
        self._standing -= {pid}
        return pid in started

    def dismiss(self) -> list[int]:
        """End the processes that stand by; the pids that would not die.

        Raises:
            ServerDiedError: the server has died.
        """
        left: list[int] = self._asked({"dismiss": {}})["dismissed"]
        self._standing = frozenset()
        return left

    def _asked(self, message: messages.Message, files: Sequence[int] = ()) -> messages.Message:
        """The server's answer to a message."""
        try:
            messages.send(self._sock, message, files)
        except OSError as exc:
            raise self._death(exc) from exc
        return self.receive()

    def kill(self, *, dump: bool) -> None:
        """End the running attempt; its end is reported like any other.

        With `dump`, its threads' stacks are printed into its log first.
        """
        with contextlib.suppress(OSError):  # it died already: `receive` reports that
            messages.send(self._sock, {"kill": {"dump": dump}})

    def receive(self) -> messages.Message:
        """The next message, waited for.

        Raises:
            ServerDiedError: there will be none.
        """
        try:
            return messages.receive(self._sock)[0]
        except (EOFError, OSError) as exc:
            raise self._death(exc) from exc

    def family(self) -> list[int]:
        """The processes of the running attempt; those that stand by for another are not."""
        if self._pid is None:
            return []
        return [pid for pid in proc.descendants(self._pid) if pid not in self._standing]

    def processes(self) -> list[int]:
        """Its keeper, its server and what they started; none once it is closed."""
        if self.closed:
            return []
        return [self._keeper.pid, *proc.descendants(self._keeper.pid)]

    def hang_up(self) -> None:
        """End the wait of another thread in `receive`, which then finds the server dead."""
        with contextlib.suppress(OSError):  # closed already
            self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> list[int]:
        """End it and all it started; the pids that would not die. A second call does nothing."""
        if self.closed:
            return []
        self.closed = True
        self._sock.close()
        if self._pid is None:  # still importing: it handles no signal before that is done
            for pid in proc.descendants(self._keeper.pid):
                proc.send(pid, signal.SIGKILL)
        clean = self._wait(2 * END_TIMEOUT_S) == 0
        self._words.close()
        if clean:
            return []
        return self._end_marked()

    def _wait(self, timeout_s: float) -> int | None:
        try:
            return self._keeper.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def _end_marked(self) -> list[int]:
        """Kill what keeper and server left, found by its mark; the pids that would not die."""
        deadline = time.monotonic() + END_TIMEOUT_S
        while found := [pid for pid in proc.marked(self._mark) if proc.is_alive(pid)]:
            if time.monotonic() > deadline:
                break
            proc.end(lambda: proc.marked(self._mark))
            time.sleep(0.02)
        self._wait(0.0 if found else END_TIMEOUT_S)
        return found

    def _death(self, cause: Exception) -> ServerDiedError:
        words = b""
        if not self.closed:
            size = os.fstat(self._words.fileno()).st_size
            words = os.pread(self._words.fileno(), _LAST_WORDS, max(0, size - _LAST_WORDS))
        said = words.decode(errors="replace").strip() or str(cause) or type(cause).__name__
        return ServerDiedError(f"the fork server died; the last it said: {said}")
