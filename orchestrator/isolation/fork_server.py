"""The fork server: a process that has imported what trials need, done nothing else, and forks a child per attempt.

Run as `python -m orchestrator.isolation.fork_server FD`, FD one end of a socket pair; `ForkServer` in
fork_client.py has the other.
It is two processes, a keeper and its child the server; each adopts orphans, and each ends everything below it when
the other dies, the supervisor dies, or an attempt is over. So one process of ours may be killed by whomever, and
nothing that a trial started outlives it. The server has one thread and never initialises CUDA: a fork from it is sound.

An attempt is one process, or one for each of its ranks on this node. They live and die together: what any of them
started is ended when the last has, and a kill is for all.

Messages in:   {"preload": [...]} first · {"run": order} with two pipes for each process · {"kill": {"dump": bool}}
Messages out:  {"ready": pid, "problems": [...]} · {"started": [pids]} · {"exited": number, "status": wait status}
               while others run · {"ended": [wait statuses], "left": [pids]}
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from typing import NoReturn

from orchestrator.isolation import messages, proc

END_TIMEOUT_S = 10.0
EXIT_UNBORN = 115
_DUMP_S = 0.2
_CHECK_PARENT_S = 1.0


def main(fd: int) -> NoReturn:
    """Become the keeper; fork the server. Exit status 0 says that nothing started here is left."""
    # A program started from some thread of some library may inherit blocked or ignored signals.
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    proc.adopt_orphans()
    keeper = os.getpid()
    server = os.fork()
    if server == 0:
        _be_server(fd, keeper)
    os.close(fd)
    _keep(server)


def _keep(server: int) -> NoReturn:
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(signum, lambda *_: os.kill(server, signal.SIGTERM))
    reaper = proc.Reaper()
    while server not in reaper.statuses:
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
        reaper.reap()
    os._exit(1 if reaper.end_family(END_TIMEOUT_S) else 0)


def _be_server(fd: int, keeper: int) -> NoReturn:
    proc.adopt_orphans()
    proc.die_with_parent(signal.SIGTERM)
    server = Server(socket.socket(fileno=fd), keeper)
    try:
        server.serve()
    except BaseException:  # noqa: BLE001 - the last words are for whoever asks why the server died
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(1 if server.reaper.end_family(END_TIMEOUT_S) else 0)


class Server:
    """Forks one attempt at a time and tells how it ended, when everything that it started is gone."""

    def __init__(self, sock: socket.socket, keeper: int) -> None:
        self.reaper = proc.Reaper()
        self._sock = sock
        self._keeper = keeper
        self._children: list[int] = []
        self._told: set[int] = set()
        self._over = False
        self._wake, self._woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._poll = select.poll()
        for fd in (sock.fileno(), self._wake):
            self._poll.register(fd, select.POLLIN)

    def serve(self) -> None:
        """Until the supervisor, the keeper or a SIGTERM ends it."""
        self._listen_to_signals()
        # For the children: a print must be in the log when the next line kills the process.
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]
        first, _ = messages.receive(self._sock)
        problems = preload(["orchestrator.isolation.child", *first["preload"]])
        gc.collect()
        gc.freeze()
        messages.send(self._sock, {"ready": os.getpid(), "problems": problems})
        while not self._over and os.getppid() == self._keeper:
            self._step()

    def _listen_to_signals(self) -> None:
        signal.set_wakeup_fd(self._woken, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def _stop(self, *_: object) -> None:
        self._over = True

    def _step(self) -> None:
        ready = [fd for fd, _ in self._poll.poll(1000 * _CHECK_PARENT_S)]
        if self._wake in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake, 4096)
        self.reaper.reap()
        self._tell_end()
        if self._sock.fileno() in ready:
            self._obey()

    def _tell_end(self) -> None:
        """Once all processes have ended, whatever they started is ended too, before anyone hears of it."""
        statuses = self.reaper.statuses
        if not self._children:
            return
        if any(pid not in statuses for pid in self._children):
            for number, pid in enumerate(self._children):
                if pid in statuses and pid not in self._told:
                    self._told.add(pid)
                    messages.send(self._sock, {"exited": number, "status": statuses[pid]})
            return
        left = self.reaper.end_family(END_TIMEOUT_S)
        self._report([statuses[pid] for pid in self._children], left)

    def _report(self, ended: Sequence[int], left: Sequence[int]) -> None:
        self._children.clear()
        self._told.clear()
        self.reaper.statuses.clear()
        messages.send(self._sock, {"ended": list(ended), "left": list(left)})

    def _obey(self) -> None:
        try:
            message, files = messages.receive(self._sock)
        except (EOFError, OSError):
            self._over = True
            return
        if "run" in message:
            self._run(message["run"], files)
        elif "kill" in message and self._children:
            self._kill(dump=message["kill"]["dump"])

    def _run(self, order: messages.Message, files: Sequence[int]) -> None:
        from orchestrator.isolation import child

        server = os.getpid()
        for number, environment in enumerate(order["environments"]):
            log, result = files[2 * number : 2 * number + 2]
            pid = os.fork()
            if pid == 0:
                others = [fd for fd in files if fd not in (log, result)]
                self._leave_to(partial(child.become, order, environment, server, log=log, result=result), others)
            self._children.append(pid)
        for fd in files:
            os.close(fd)
        messages.send(self._sock, {"started": list(self._children)})

    def _leave_to(self, become: Callable[[], NoReturn], others: Sequence[int]) -> None:
        """In the child: let go of what is the server's or another rank's; never come back into the server's code."""
        try:
            for fd in (self._wake, self._woken, *others):
                os.close(fd)
            self._sock.close()
            become()
        except BaseException:  # noqa: BLE001 - into the log, or into the server's own last words
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(EXIT_UNBORN)

    def _kill(self, *, dump: bool) -> None:
        """End the attempt; with `dump`, its threads' stacks first go into its log (faulthandler, see child.py)."""
        if dump:
            for pid in self._children:
                if pid not in self.reaper.statuses:
                    proc.send(pid, signal.SIGQUIT)
            time.sleep(_DUMP_S)
        left = self.reaper.end_family(END_TIMEOUT_S)
        if left and any(pid not in self.reaper.statuses for pid in self._children):
            self._report([self.reaper.statuses.get(pid, signal.SIGKILL) for pid in self._children], left)
            self._over = True
        self._tell_end()


def preload(names: Sequence[str]) -> list[str]:
    """Import each "module", call each "module:function"; what went wrong with which.

    What failed here is tried again by the children that need it, and the fault is their own.
    """
    problems = []
    for name in names:
        module, _, function = name.partition(":")
        try:
            imported = import_module(module)
            if function:
                getattr(imported, function)()
        except BaseException as exc:  # noqa: BLE001 - a registered module may raise anything, SystemExit included
            problems.append(f"{name}: {type(exc).__name__}: {exc}")
    return problems


if __name__ == "__main__":
    main(int(sys.argv[1]))
