"""Processes that are made ready ahead of their attempts, several side by side.

A fresh process needs most of a second before it can use a GPU as fast as it ever will: CUDA starts,
and the driver loads each of torch's kernels when it is first used. One attempt after another would
wait for that. So while the card has nothing else to do a few processes do it at once, and each then
waits for an attempt of its own. No attempt runs in a process that another has touched, and nothing
is made ready while one is timed.
"""

from __future__ import annotations

import json
import os
import select
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field

from orchestrator.isolation.child import READY
from orchestrator.isolation.fork_client import ForkClient
from orchestrator.isolation.messages import Message

# An attempt in a process that was not made ready takes half a second more; the first one is ready
# after 1.4 s, however many there are.
FEWEST = 3
READY_WITHIN_S = 20.0


@dataclass
class Standby:
    """A process that is ready, or getting ready, for an attempt.

    Attributes:
        log, result: our ends of the pipes that it writes into.
        order: our end of the pipe that it waits for its attempt on.
    """

    pid: int
    log: int
    result: int
    order: int

    def give(self, message: Message) -> None:
        """Tell it its attempt; see `child.become`. One that has just died is found by its end."""
        line = json.dumps(message).encode() + b"\n"
        with suppress(BrokenPipeError), os.fdopen(self.order, "wb") as order:
            order.write(line)

    def close(self) -> None:
        """Close our ends of its pipes, which ends it if it waits."""
        for fd in (self.log, self.result, self.order):
            os.close(fd)


@dataclass
class Standbys:
    """Those of one fork server.

    Attributes:
        ready_by: "module:function" that makes a process ready.
        environment: variables of the processes besides the server's.
        cwd: their current directory.
        waiting: those that are ready.
        failed: whether some could not be made ready: then none will be any more.
    """

    ready_by: str
    environment: Mapping[str, str]
    cwd: str
    waiting: list[Standby] = field(default_factory=list)
    failed: bool = False
    _server: ForkClient | None = None

    def fill(self, server: ForkClient, count: int) -> None:
        """Where none waits, make `count` new ones ready; fewer than FEWEST are not worth it.

        Raises:
            ServerDiedError: the server has died.
        """
        self._belong_to(server)
        if not self.waiting and not self.failed and count >= FEWEST:
            self._make_ready(server, count)

    def take(self, server: ForkClient) -> Standby | None:
        """A process that is ready, and an attempt's from now on; None: there is none.

        Raises:
            ServerDiedError: the server has died.
        """
        self._belong_to(server)
        while self.waiting:
            standby = self.waiting.pop(0)
            if server.take(standby.pid):
                return standby
            standby.close()
        return None

    def dismiss(self) -> None:
        """End those that wait: the card may be in a state that they do not know of.

        Raises:
            ServerDiedError: the server has died.
        """
        if self.waiting and self._server is not None and not self._server.closed:
            self._server.dismiss()
        self.forget()

    def forget(self) -> None:
        """Close our ends of their pipes."""
        for standby in self.waiting:
            standby.close()
        self.waiting.clear()

    def _belong_to(self, server: ForkClient) -> None:
        if server is not self._server:  # its processes ended with it
            self.forget()
            self._server = server

    def _make_ready(self, server: ForkClient, count: int) -> None:
        request = {
            "count": count,
            "ready_by": self.ready_by,
            "cwd": self.cwd,
            "environment": dict(self.environment),
        }
        ours: list[tuple[int, int, int]] = []
        with ExitStack() as theirs, ExitStack() as kept:
            files: list[int] = []
            for _ in range(count):
                log, log_end = os.pipe2(os.O_CLOEXEC)
                result, result_end = os.pipe2(os.O_CLOEXEC)
                order_end, order = os.pipe2(os.O_CLOEXEC)
                for fd in (log_end, result_end, order_end):
                    theirs.callback(os.close, fd)
                for fd in (log, result, order):
                    kept.callback(os.close, fd)
                for fd in (log, result):
                    os.set_blocking(fd, False)
                ours.append((log, result, order))
                files += [log_end, result_end, order_end]
            pids = server.stand_by(request, files)
            kept.pop_all()  # they are the processes' from here on
        self.waiting = [Standby(pid, *fds) for pid, fds in zip(pids, ours, strict=True)]
        if not all_ready(self.waiting):
            self.failed = True
            self.dismiss()


def all_ready(standbys: list[Standby], within_s: float = READY_WITHIN_S) -> bool:
    """Whether each of them says so within these seconds."""
    deadline = time.monotonic() + within_s
    for standby in standbys:
        poll = select.poll()
        poll.register(standby.result, select.POLLIN)
        if not poll.poll(1000 * max(0.0, deadline - time.monotonic())):
            return False
        if os.read(standby.result, 4096) != READY:  # it has ended, or printed there
            return False
    return True
