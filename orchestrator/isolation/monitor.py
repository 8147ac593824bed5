"""Monitors the processes of one request from their supervisor: phase, output, memory, time, end."""

from __future__ import annotations

import fcntl
import os
import select
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from orchestrator.isolation import host_memory
from orchestrator.isolation.child import MAX_RESULT_BYTES
from orchestrator.isolation.device_memory import DeviceWatch
from orchestrator.isolation.fork_client import ForkClient, ServerDiedError
from orchestrator.isolation.fork_server import END_TIMEOUT_S
from orchestrator.isolation.messages import Signatures, new_key
from orchestrator.isolation.output import MAX_LOG_BYTES, BoundedOutput
from orchestrator.isolation.process_end import Cause, ProcessEnd, answers_well, read_line
from orchestrator.isolation.ranks import SETTLE_S, STOPPED
from orchestrator.isolation.request import ProcessRequest
from orchestrator.isolation.standby import Standby
from orchestrator.machine import nvml
from orchestrator.outcome import Outcome, Phase
from orchestrator.util.quantities import GIB, MIB

OnPhase = Callable[[Phase], None]

# A process that has answered only has to exit. To leave a CUDA context takes a tenth of a second.
_EXIT_S = 15.0
_GIVE_UP_S = END_TIMEOUT_S + 5.0
_LONGEST_WAIT_S = 1.0
_CHUNK = 1 << 18
_PIPE_BYTES = MIB
_STRAY_BYTES = 200  # of stray output, for the message
_MAX_LINE = MAX_RESULT_BYTES + 4096


class Watch(Protocol):
    """Checks an attempt every so often while it runs: one kind of memory, say.

    Attributes:
        kind: of the error, if it ends the attempt.
        next_look: when to check next, by time.monotonic().
    """

    kind: str
    next_look: float

    def look(self, phase: Phase, /) -> str | None:
        """Why the attempt must end; None: it may go on. Sets `next_look` anew."""
        ...

    def close(self) -> None:
        """Release what it holds: the attempt is over."""
        ...


@dataclass
class ProcessOutput:
    """Output and reports of one process of an attempt so far, and how it ended.

    Attributes:
        log, result: our ends of the pipes that it writes into.
        signatures: check what it reports.
        phase: the last one it reported.
        parts: the results that it reported before its answer, each a line of JSON.
        answer: its answer, a line of JSON; None until it has answered.
        answers_badly: whether the answer is an exception, or a record that is not ok.
        status: its wait status; None until it is known.
        ended_at: when it answered or exited, by time.monotonic().
        killed: whether it was ended because another process of the attempt had ended badly.
        stray: the beginning of what came through the result pipe and is no message.
    """

    log: int
    result: int
    printed: BoundedOutput
    signatures: Signatures
    phase: Phase = Phase.BUILD
    parts: list[bytes] = field(default_factory=list)
    answer: bytes | None = None
    answers_badly: bool = False
    status: int | None = None
    ended_at: float = float("inf")
    killed: bool = False
    stray: bytes = b""
    _line: bytearray = field(default_factory=bytearray)

    def read_log(self) -> bool:
        """Read what it printed; False at the end."""
        data = _read(self.log)
        self.printed.add(data)
        return bool(data)

    def read_result(self, on_phase: OnPhase) -> bool:
        """Read what it reported; False at the end."""
        data = _read(self.result)
        self._line += data
        *lines, self._line = self._line.split(b"\n")
        for line in lines:
            self._take(bytes(line), on_phase)
        if len(self._line) > _MAX_LINE:  # no message is so long
            self._take(bytes(self._line), on_phase)
            self._line.clear()
        return bool(data)

    def _take(self, line: bytes, on_phase: OnPhase) -> None:
        text = self.signatures.checked(line)
        if text is None:
            self.stray = self.stray or line[:_STRAY_BYTES]
            return
        kind, message = read_line(text)
        if kind == "phase":
            self.phase = Phase(message["phase"])
            on_phase(self.phase)
        elif kind == "part":
            self.parts.append(text)
        elif kind == "answer":
            self.answer = text
            self.answers_badly = not answers_well(message)
            self.ended_at = min(self.ended_at, time.monotonic())
        else:
            self.stray = self.stray or line[:_STRAY_BYTES]

    def exited(self, status: int) -> None:
        """Record that it has exited."""
        self.status = status
        self.ended_at = min(self.ended_at, time.monotonic())

    @property
    def is_bad(self) -> bool:
        """Whether it answered badly, or exited without an answer."""
        return self.answers_badly or (self.status is not None and self.answer is None)


class AttemptMonitor:
    """Monitors the processes of one attempt on `server`: one, or one for each rank here.

    Args:
        server: the fork server.
        request: what they run, and within which limits.
        slots: how many attempts share this machine's memory.
        stop: a file that becomes readable when the attempt is to be ended from outside.
        on_phase: called with each phase that the first process reaches.
        watches: further ones, besides those of memory.
        environments: each process's variables besides the server's.
        standby: the process that runs it, which is ready for it; None: fresh ones.

    Attributes:
        processes: the state of each.
        left_alive: pids that could not be killed.
    """

    def __init__(
        self,
        server: ForkClient,
        request: ProcessRequest,
        slots: int,
        stop: int,
        on_phase: OnPhase | None,
        watches: Sequence[Watch] = (),
        environments: Sequence[Mapping[str, str]] = ({},),
        standby: Standby | None = None,
    ) -> None:
        self.processes: list[ProcessOutput] = []
        self.left_alive: list[int] = []
        self._server = server
        self._request = request
        self._watches = [*_watches(server, request, slots), *watches]
        self._stop = stop
        self._on_phase = on_phase or (lambda _: None)
        self._environments = environments
        self._standby = standby
        self._cause: Cause | None = None
        self._died = ""
        self._over = False
        self._give_up = float("inf")
        self._timeout = float("inf")
        self._settled = float("inf")

    def run(self, cwd: str) -> list[ProcessEnd]:
        """Run the request, and return only when its processes are gone (or are `left_alive`).

        Returns:
            How each process ended, in the order of `environments`.

        Raises:
            ServerDiedError: nothing was started.
        """
        kills = host_memory.kernel_kills()
        with ExitStack() as stack:
            for watch in self._watches:
                stack.callback(watch.close)
            key = new_key()
            message = {**self._request.message, "cwd": cwd, "key": key}
            if self._standby is None:
                self._start(message, key, stack)
            else:
                for fd in (self._standby.log, self._standby.result):
                    stack.callback(os.close, fd)
                printed = BoundedOutput(MAX_LOG_BYTES)
                self.processes.append(
                    ProcessOutput(self._standby.log, self._standby.result, printed, Signatures(key))
                )
                self._standby.give(message)
            self._watch()
        out_of_memory = host_memory.kernel_kills() > kills
        return [
            ProcessEnd(
                phase=process.phase,
                answer=process.answer,
                cause=self._cause,
                status=process.status,
                out_of_memory=out_of_memory,
                died=self._died,
                stray=process.stray,
            )
            for process in self.processes
        ]

    def _start(self, message: Mapping[str, Any], key: str, stack: ExitStack) -> None:
        """Have the server fork the processes; `stack` closes our ends of their pipes."""
        with ExitStack() as theirs:
            files: list[int] = []
            for _ in self._environments:
                log, log_end = _pipe(stack, theirs)
                result, result_end = _pipe(stack, theirs)
                with suppress(OSError):  # over the quota of pipe pages: the default will do
                    fcntl.fcntl(log, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
                printed = BoundedOutput(MAX_LOG_BYTES // len(self._environments))
                self.processes.append(ProcessOutput(log, result, printed, Signatures(key)))
                files += [log_end, result_end]
            own = [dict(one) for one in self._environments]
            self._server.start({**message, "environments": own}, files)

    def _watch(self) -> None:
        """Wait for output, messages, time limits and watches until the attempt is over."""
        self._timeout = time.monotonic() + self._request.resources.timeout_s
        actions: dict[int, Callable[[], bool]] = {
            self._server.fileno(): self._hear_server,
            self._stop: self._stop_at_once,
        }
        first, *others = self.processes
        hears = [(first, self._on_phase), *((process, _ignore) for process in others)]
        for process, on_phase in hears:
            actions[process.log] = process.read_log
            actions[process.result] = partial(self._read_result, process, on_phase)
        poll = select.poll()
        for fd in actions:
            poll.register(fd, select.POLLIN)
        while not self._over:
            for fd, _ in poll.poll(self._wait_ms()):
                if not self._over and not actions[fd]():
                    poll.unregister(fd)
            self._look_at_clock()
            self._look_at_watches()
        for process, on_phase in hears:  # what they wrote before they exited
            while process.read_log():
                pass
            while process.read_result(on_phase):
                pass

    def _wait_ms(self) -> float:
        until = min(self._timeout, self._give_up, self._settled)
        if self._cause is None:
            for watch in self._watches:
                until = min(until, watch.next_look)
        return 1000 * max(0.0, min(until - time.monotonic(), _LONGEST_WAIT_S))

    def _read_result(self, process: ProcessOutput, on_phase: OnPhase) -> bool:
        parts = len(process.parts)
        more = process.read_result(on_phase)
        if len(process.parts) > parts and self._cause is None:  # the limit holds for each
            self._timeout = time.monotonic() + self._request.resources.timeout_s
        if all(one.answer is not None for one in self.processes):
            self._timeout = min(self._timeout, time.monotonic() + _EXIT_S)
        self._settle()
        return more

    def _settle(self) -> None:
        """Once a rank has ended badly, give the others a moment to report, then end them."""
        if len(self.processes) > 1 and any(process.is_bad for process in self.processes):
            self._settled = min(self._settled, time.monotonic() + SETTLE_S)

    def _hear_server(self) -> bool:
        """Take the server's next message: the exit of one process, or the end of all."""
        try:
            message = self._server.receive()
        except ServerDiedError as exc:
            self._died = str(exc)
            self._over = True
            self.left_alive = self._server.close()
            return False
        if "exited" in message:
            self.processes[message["exited"]].exited(message["status"])
            self._settle()
            return True
        for process, status in zip(self.processes, message["ended"], strict=True):
            if process.status is None:
                process.exited(status)
        self.left_alive = message["left"]
        self._over = True
        return True

    def _stop_at_once(self) -> bool:
        self._end(Cause(Outcome.LOST, STOPPED, "the attempt was stopped from outside"), dump=False)
        return False

    def _look_at_clock(self) -> None:
        now = time.monotonic()
        if now > self._give_up and not self._over:
            self._over = True
            self.left_alive = self._server.close()
        elif now > self._timeout:
            limit_s = self._request.resources.timeout_s
            text = (
                f"it took longer than resources.timeout_s = {limit_s:g} s and was killed with all "
                "it had started"
            )
            self._end(Cause(Outcome.TIMEOUT, "Timeout", text), dump=True)
        elif now > self._settled and not self._over:
            self._settled = float("inf")
            for process in self.processes:
                process.killed = process.status is None and process.answer is None
            self._kill(dump=True)

    def _look_at_watches(self) -> None:
        for watch in self._watches:
            if self._over or self._cause or time.monotonic() < watch.next_look:
                continue
            reason = watch.look(self.processes[0].phase)
            if reason is not None:
                self._end(Cause(Outcome.OOM, watch.kind, reason), dump=False)

    def _end(self, cause: Cause, *, dump: bool) -> None:
        self._timeout = self._settled = float("inf")
        if self._cause is not None or self._over:
            return
        self._cause = cause
        self._kill(dump=dump)

    def _kill(self, *, dump: bool) -> None:
        self._give_up = min(self._give_up, time.monotonic() + _GIVE_UP_S)
        self._server.kill(dump=dump)


def _ignore(_phase: Phase) -> None:
    """Does nothing."""


def _pipe(ours: ExitStack, theirs: ExitStack) -> tuple[int, int]:
    """A pipe: our end, which never blocks, and the end for a process of the attempt."""
    read, write = os.pipe2(os.O_CLOEXEC)
    ours.callback(os.close, read)
    theirs.callback(os.close, write)
    os.set_blocking(read, False)
    return read, write


def _watches(server: ForkClient, request: ProcessRequest, slots: int) -> list[Watch]:
    resources = request.resources
    stated = resources.host_memory_gib
    limit = host_memory.limit_bytes(stated, slots)
    whose = "what this machine can spare"
    if stated is not None and limit >= int(stated * GIB):
        whose = "resources.host_memory_gib"
    later = host_memory.limit_bytes(None, slots)
    watches: list[Watch] = [host_memory.MemoryWatch(limit, server.family, whose, later)]
    if resources.gpu_memory_gib is not None and request.device.startswith("cuda"):
        first = nvml.ordinal_of(request.device)
        watches.append(
            DeviceWatch(resources.gpu_memory_gib, range(first, first + max(1, resources.gpus)))
        )
    return watches


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, _CHUNK)
    except BlockingIOError:
        return b""
