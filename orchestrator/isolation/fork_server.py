"""The fork server: imports what trials need, does nothing else, and forks a child per attempt.

Run as `python -m orchestrator.isolation.fork_server FD`, FD one end of a socket pair; `ForkClient`
in fork_client.py has the other.

It is two processes, a keeper and its child the server. Each adopts orphans, and each ends
everything below it when the other dies, the supervisor dies, or an attempt is over. So any one of
our processes may be killed, and still nothing that a trial started outlives the trial. The server
has one thread and never initialises CUDA: that makes its forks sound.

An attempt is one process, or one for each of its ranks on this node. Its processes end together:
what any of them started is ended when the last has exited, and a kill is for all.

Processes may also be made ready ahead (standby.py). They wait for an attempt, and live on when
another attempt ends.

Messages in:   {"preload": [...]} first
               {"run": request}, with two pipes for each process
               {"stand_by": request}, with three pipes for each process
               {"run": {"standby": pid}}: it has been given its attempt
               {"dismiss": {}}: end the processes that stand by
               {"kill": {"dump": bool}}
Messages out:  {"ready": pid, "failed": [names of what could not be imported or called]}
               {"started": [pids]}; none if the process that stood by has ended
               {"standing": [pids]}
               {"dismissed": [pids that would not die]}
               {"exited": number, "status": wait status}, while others run
               {"ended": [wait statuses], "left": [pids]}
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
    """Become the keeper and fork the server. Exit status 0: nothing that was started is left."""
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
    """Wait for the server's end, then end what it left behind. Signals are passed on to it."""
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(signum, lambda *_: os.kill(server, signal.SIGTERM))
    reaper = proc.Reaper()
    while server not in reaper.statuses:
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)  # blocks; `reap` then collects
        reaper.reap()
    os._exit(1 if reaper.end_family(END_TIMEOUT_S) else 0)


def _be_server(fd: int, keeper: int) -> NoReturn:
    proc.adopt_orphans()
    proc.die_with_parent(signal.SIGTERM)
    server = Server(socket.socket(fileno=fd), keeper)
    try:
        server.serve()
    except BaseException:  # noqa: BLE001 - the client shows what is printed here
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(1 if server.reaper.end_family(END_TIMEOUT_S) else 0)


class Server:
    """Forks one attempt at a time; reports its end once everything that it started is gone."""

    def __init__(self, sock: socket.socket, keeper: int) -> None:
        self.reaper = proc.Reaper()
        self._sock = sock
        self._keeper = keeper
        self._children: list[int] = []
        self._standing: set[int] = set()
        self._reported: set[int] = set()  # children whose exit was reported before the end of all
        self._over = False
        self._wake, self._woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._poll = select.poll()
        for fd in (sock.fileno(), self._wake):
            self._poll.register(fd, select.POLLIN)

    def serve(self) -> None:
        """Serve until the supervisor or the keeper ends, or SIGTERM arrives."""
        self._handle_signals()
        # For the children: a printed line must be in the log even if the next statement kills the
        # process.
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(  # type: ignore[union-attr]
                line_buffering=True, errors="backslashreplace"
            )
        first, _ = messages.receive(self._sock)
        failed = preload(["orchestrator.isolation.child", *first["preload"]])
        # Frozen objects are not touched by a child's collector: their pages stay shared.
        gc.collect()
        gc.freeze()
        messages.send(self._sock, {"ready": os.getpid(), "failed": failed})
        while not self._over and os.getppid() == self._keeper:
            self._step()

    def _handle_signals(self) -> None:
        # SIGCHLD needs a handler, if an empty one: only then is the pipe written that wakes `poll`.
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
        self._standing -= self.reaper.statuses.keys()
        self._report_exits()
        if self._sock.fileno() in ready:
            self._receive()

    def _report_exits(self) -> None:
        """Report each child's exit; with the last, first end everything that they started."""
        statuses = self.reaper.statuses
        if not self._children:
            return
        if any(pid not in statuses for pid in self._children):
            for number, pid in enumerate(self._children):
                if pid in statuses and pid not in self._reported:
                    self._reported.add(pid)
                    messages.send(self._sock, {"exited": number, "status": statuses[pid]})
            return
        left = self.reaper.end_family(END_TIMEOUT_S, self._standing)
        self._report_end([statuses[pid] for pid in self._children], left)

    def _report_end(self, ended: Sequence[int], left: Sequence[int]) -> None:
        self._children.clear()
        self._reported.clear()
        self.reaper.statuses.clear()
        messages.send(self._sock, {"ended": list(ended), "left": list(left)})

    def _receive(self) -> None:
        """Do what the next message asks; the end of the connection is the end of the server."""
        try:
            message, files = messages.receive(self._sock)
        except (EOFError, OSError):
            self._over = True
            return
        if "run" in message and "standby" in message["run"]:
            self._take(message["run"]["standby"])
        elif "run" in message:
            self._run(message["run"], files)
        elif "stand_by" in message:
            self._stand_by(message["stand_by"], files)
        elif "dismiss" in message:
            self._dismiss()
        elif "kill" in message and self._children:
            self._kill(dump=message["kill"]["dump"])

    def _run(self, request: messages.Message, files: Sequence[int]) -> None:
        """Fork the attempt's processes."""
        from orchestrator.isolation import child

        server = os.getpid()
        for number, environment in enumerate(request["environments"]):
            log, result = files[2 * number : 2 * number + 2]
            pid = os.fork()
            if pid == 0:
                others = [fd for fd in files if fd not in (log, result)]
                become = partial(child.become, request, environment, server, log=log, result=result)
                self._leave_to(become, others)
            self._children.append(pid)
        for fd in files:
            os.close(fd)
        messages.send(self._sock, {"started": list(self._children)})

    def _stand_by(self, request: messages.Message, files: Sequence[int]) -> None:
        """Fork processes that make themselves ready and wait for an attempt each."""
        from orchestrator.isolation import child

        server, made = os.getpid(), []
        for number in range(request["count"]):
            log, result, order = files[3 * number : 3 * number + 3]
            pid = os.fork()
            if pid == 0:
                others = [fd for fd in files if fd not in (log, result, order)]
                stand_by = partial(
                    child.stand_by, request, server, log=log, result=result, order=order
                )
                self._leave_to(stand_by, others)
            made.append(pid)
        for fd in files:
            os.close(fd)
        self._standing |= set(made)
        messages.send(self._sock, {"standing": made})

    def _take(self, pid: int) -> None:
        """Make a process that stands by the attempt's."""
        self.reaper.reap()
        self._standing -= self.reaper.statuses.keys()
        if pid in self._standing:
            self._standing.discard(pid)
            self._children.append(pid)
        messages.send(self._sock, {"started": list(self._children)})

    def _dismiss(self) -> None:
        self._standing.clear()
        left = self.reaper.end_family(END_TIMEOUT_S)
        self.reaper.statuses.clear()
        messages.send(self._sock, {"dismissed": left})

    def _leave_to(self, become: Callable[[], NoReturn], others: Sequence[int]) -> None:
        """In the child: close the files of server and other ranks, run `become`, never return."""
        try:
            for fd in (self._wake, self._woken, *others):
                os.close(fd)
            self._sock.close()
            become()
        except BaseException:  # noqa: BLE001 - printed into the log, or the server's output
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(EXIT_UNBORN)

    def _kill(self, *, dump: bool) -> None:
        """End the attempt; with `dump`, first print its threads' stacks into its log."""
        if dump:
            for pid in self._children:
                if pid not in self.reaper.statuses:
                    proc.send(pid, signal.SIGQUIT)
            time.sleep(_DUMP_S)
        left = self.reaper.end_family(END_TIMEOUT_S, self._standing)
        if left and any(pid not in self.reaper.statuses for pid in self._children):
            self._report_end(
                [self.reaper.statuses.get(pid, signal.SIGKILL) for pid in self._children], left
            )
            self._over = True
        self._report_exits()


def preload(names: Sequence[str]) -> list[str]:
    """Import each "module", call each "module:function"; returns the names that failed.

    Each failure is printed. None is final: the children that need the module import it again, and
    report the error.
    """
    failed = []
    for name in names:
        module, _, function = name.partition(":")
        try:
            imported = import_module(module)
            if function:
                getattr(imported, function)()
        except BaseException:  # noqa: BLE001 - user code may raise anything
            sys.stderr.write(f"could not preload {name}:\n")
            traceback.print_exc()
            failed.append(name)
    return failed


if __name__ == "__main__":
    main(int(sys.argv[1]))
