"""One attempt in flight, seen from its supervisor: its phases, its output, its memory, its time, its end."""

from __future__ import annotations

import fcntl
import os
import select
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from orchestrator.isolation import host_memory
from orchestrator.isolation.child import MAX_RECORD_BYTES
from orchestrator.isolation.device_memory import DeviceWatch
from orchestrator.isolation.fork_client import ForkClient, ServerDiedError
from orchestrator.isolation.fork_server import END_TIMEOUT_S
from orchestrator.isolation.output import BoundedOutput
from orchestrator.isolation.process_end import Cause, ProcessEnd, read_line
from orchestrator.machine import nvml
from orchestrator.outcome import Outcome, Phase
from orchestrator.trial import Attempt

OnPhase = Callable[[Phase], None]

# A process that has answered only has to exit; leaving a CUDA context takes a tenth of a second.
_EXIT_S = 15.0
_GIVE_UP_S = END_TIMEOUT_S + 5.0
_LONGEST_WAIT_S = 1.0
_CHUNK = 1 << 18
_PIPE_BYTES = 1 << 20
_SCRIBBLE = 200
_MAX_LINE = MAX_RECORD_BYTES + 4096


class Watch(Protocol):
    """Looks at an attempt every so often while it runs: after one kind of memory, say."""

    kind: str
    next_look: float

    def look(self, phase: Phase, /) -> str | None:
        """What to say of an attempt that takes too much, None of one that does not; moves `next_look` on."""
        ...

    def close(self) -> None:
        """The attempt is over."""
        ...


class AttemptMonitor:
    """Watches the attempt that `server` has been told to fork.

    Args:
        server: the fork server.
        attempt: what it runs.
        slots: how many attempts share this machine's memory.
        stop: a file that becomes readable when the attempt is to be ended from outside.
        on_phase: told every phase as it is reached.
        watches: further ones, besides those of memory.
    """

    def __init__(
        self,
        server: ForkClient,
        attempt: Attempt,
        slots: int,
        stop: int,
        on_phase: OnPhase | None,
        watches: Sequence[Watch] = (),
    ) -> None:
        self.log = BoundedOutput()
        self.left_alive: list[int] = []
        self._server = server
        self._attempt = attempt
        self._watches = [*_watches(server, attempt, slots), *watches]
        self._stop = stop
        self._on_phase = on_phase or (lambda _: None)
        self._phase = Phase.BUILD
        self._line = bytearray()
        self._answer: bytes | None = None
        self._cause: Cause | None = None
        self._status: int | None = None
        self._died = ""
        self._scribble = b""
        self._over = False
        self._give_up = float("inf")
        self._timeout = float("inf")

    def fly(self, target: str, cwd: str) -> ProcessEnd:
        """Start the attempt, watch it to its end, and return only when its processes are gone (or `left_alive`).

        Raises:
            ServerDiedError: nothing was started.
        """
        kills = host_memory.kernel_kills()
        log, log_end = os.pipe2(os.O_CLOEXEC)
        result, result_end = os.pipe2(os.O_CLOEXEC)
        try:
            for fd in (log, result):
                os.set_blocking(fd, False)
            with suppress(OSError):  # over the user's quota of pipe pages: the default size does
                fcntl.fcntl(log, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
            order = {"attempt": self._attempt.model_dump_json(), "target": target, "cwd": cwd}
            try:
                self._server.start(order, log_end, result_end)
            finally:
                os.close(log_end)
                os.close(result_end)
            self._watch(log, result)
        finally:
            os.close(log)
            os.close(result)
            for watch in self._watches:
                watch.close()
        killed = host_memory.kernel_kills() > kills
        return ProcessEnd(self._phase, self._answer, self._cause, self._status, killed, self._died, self._scribble)

    def _watch(self, log: int, result: int) -> None:
        self._timeout = time.monotonic() + self._attempt.resources.timeout_s
        actions = {
            log: lambda: self._read_log(log),
            result: lambda: self._read_result(result),
            self._server.fileno(): self._hear_server,
            self._stop: self._stop_at_once,
        }
        poll = select.poll()
        for fd in actions:
            poll.register(fd, select.POLLIN)
        while not self._over:
            for fd, _ in poll.poll(self._wait_ms()):
                if not self._over and not actions[fd]():
                    poll.unregister(fd)
            self._look_at_clock()
            self._look_at_watches()
        while self._read_log(log):
            pass
        while self._read_result(result):
            pass

    def _wait_ms(self) -> float:
        looks = () if self._cause else (watch.next_look for watch in self._watches)
        until = min(self._timeout, self._give_up, *looks)
        return 1000 * max(0.0, min(until - time.monotonic(), _LONGEST_WAIT_S))

    def _read_log(self, fd: int) -> bool:
        data = _read(fd)
        self.log.add(data)
        return bool(data)

    def _read_result(self, fd: int) -> bool:
        data = _read(fd)
        self._line += data
        *lines, self._line = self._line.split(b"\n")
        for line in lines:
            self._take(bytes(line))
        if len(self._line) > _MAX_LINE:  # no line of ours is so long
            self._take(bytes(self._line))
            self._line.clear()
        return bool(data)

    def _take(self, line: bytes) -> None:
        kind, message = read_line(line)
        if kind == "phase":
            self._phase = Phase(message["phase"])
            self._on_phase(self._phase)
        elif kind == "answer":
            self._answer = line
            self._timeout = min(self._timeout, time.monotonic() + _EXIT_S)
        else:
            self._scribble = self._scribble or line[:_SCRIBBLE]

    def _hear_server(self) -> bool:
        try:
            message = self._server.receive()
        except ServerDiedError as exc:
            self._died = str(exc)
            self._over = True
            self.left_alive = self._server.close()
            return False
        self._status = message["ended"]
        self.left_alive = message["left"]
        self._over = True
        return True

    def _stop_at_once(self) -> bool:
        self._end(Cause(Outcome.LOST, "Stopped", "the attempt was stopped from outside"), dump=False)
        return False

    def _look_at_clock(self) -> None:
        if time.monotonic() > self._give_up and not self._over:
            self._over = True
            self.left_alive = self._server.close()
        elif time.monotonic() > self._timeout:
            limit_s = self._attempt.resources.timeout_s
            text = f"it took longer than resources.timeout_s = {limit_s:g} s and was killed with all it had started"
            self._end(Cause(Outcome.TIMEOUT, "Timeout", text), dump=True)

    def _look_at_watches(self) -> None:
        for watch in self._watches:
            if self._over or self._cause or time.monotonic() < watch.next_look:
                continue
            if (says := watch.look(self._phase)) is not None:
                self._end(Cause(Outcome.OOM, watch.kind, says), dump=False)

    def _end(self, cause: Cause, *, dump: bool) -> None:
        self._timeout = float("inf")
        if self._cause is not None or self._over:
            return
        self._cause = cause
        self._give_up = time.monotonic() + _GIVE_UP_S
        self._server.kill(dump=dump)


def _watches(server: ForkClient, attempt: Attempt, slots: int) -> list[Watch]:
    resources = attempt.resources
    stated, limit = resources.host_memory_gib, host_memory.limit_bytes(resources.host_memory_gib, slots)
    as_stated = stated is not None and limit >= int(stated * host_memory.GIB)
    whose = "resources.host_memory_gib" if as_stated else "what this machine can spare"
    watches: list[Watch] = [host_memory.MemoryWatch(limit, server.family, whose, host_memory.limit_bytes(None, slots))]
    if resources.gpu_memory_gib is not None and attempt.device.startswith("cuda"):
        first = nvml.ordinal_of(attempt.device)
        watches.append(DeviceWatch(resources.gpu_memory_gib, range(first, first + max(1, resources.gpus))))
    return watches


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, _CHUNK)
    except BlockingIOError:
        return b""
