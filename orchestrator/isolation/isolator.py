"""Runs each attempt in a fresh process, within limits of time and memory, and leaves nothing."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from orchestrator.attempt_result import AttemptResult
from orchestrator.isolation import proc
from orchestrator.isolation.fork_client import ForkClient, ServerDiedError
from orchestrator.isolation.monitor import AttemptMonitor, OnPhase, ProcessOutput, Watch
from orchestrator.isolation.process_end import (
    Cause,
    Environment,
    ProcessEnd,
    result_of_end,
    result_of_parts,
    value_of_end,
)
from orchestrator.isolation.ranks import (
    RankEnd,
    RankSpan,
    environments,
    joined,
    logs_joined,
    on_one_node,
)
from orchestrator.isolation.request import Call, ProcessRequest, Returned
from orchestrator.isolation.standby import Standbys
from orchestrator.machine.environment import describe
from orchestrator.outcome import Phase
from orchestrator.record import TrialRecord, utc_now
from orchestrator.trial import Attempt

WORKER = "orchestrator.worker.run_attempt:run_attempt"
# What the worker imports or looks up anyway, done once in the server so that no attempt pays for
# it.
WARM = (
    "torch",
    WORKER.partition(":")[0],
    "orchestrator.measure.protocol",
    "orchestrator.measure.clocks",
    "orchestrator.verify.verifier",
    "orchestrator.verify.call",
    "orchestrator.verify.expected",
    "orchestrator.verify.rule.reference",
    "orchestrator.verify.rule.structured",
    "scipy.special",  # of the intervals
    "orchestrator.worker.as_timed",
    "orchestrator.usercode.registry:workloads",
    "orchestrator.usercode.workloads:adapters",
    "orchestrator.isolation.child:know_this_machine",
    "orchestrator.isolation.child:know_triton",
)
_TRIES = 2
_STOP_S = 1.0


@dataclass(frozen=True)
class Completed:
    """An attempt that is over.

    Attributes:
        result: how it ended and what it measured.
        log: what it printed, at most 16 MiB.
        left_alive: its processes that could not be killed (stuck in the kernel, say): its device is
            not clean then.
    """

    result: AttemptResult
    log: bytes = b""
    left_alive: tuple[int, ...] = ()

    @property
    def record(self) -> TrialRecord:
        """Of the attempt's trial; of a paired comparison, of its first."""
        return self.result.record


@dataclass(frozen=True)
class _Run:
    """A request that is over: how each process ended, its output, and who is left of them."""

    ends: list[ProcessEnd]
    processes: list[ProcessOutput]
    left_alive: list[int]

    @property
    def died_at_once(self) -> bool:
        """Whether the process ended by itself without having answered or reported anything."""
        end = self.ends[0]
        silent = end.answer is None and not any(process.parts for process in self.processes)
        return silent and end.cause is None and bool(self.processes)


class Isolator:
    """Runs attempts one after the other, each in a process that no earlier attempt has touched.

    It needs neither Ray nor the main thread. `kill` and `close` may be called from any thread. The
    fork server starts to import as soon as the isolator is made.

    Args:
        preload: modules to import, and "module:function"s to call, once in the server. One that
            fails twice is left to the attempts that use it. None may initialise CUDA or start
            threads.
        env: variables of the attempts besides this process's own (CUDA_VISIBLE_DEVICES).
        sys_path: where attempts find modules; None: where this process does.
        cwd: the attempts' current directory at the start; None: this process's.
        cores: cores to pin attempts to; empty: all. Ranks get equal shares.
        slots: how many isolators share this machine, and so its memory, if no limit is stated.
        target: "module:function" that runs an attempt: (Attempt, on_phase) -> AttemptResult.
        ready_by: "module:function" that makes a process ready for any attempt ahead of time, for
            those that `run` is told may use one (standby.py).
    """

    def __init__(
        self,
        *,
        preload: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        sys_path: Sequence[str] | None = None,
        cwd: str | None = None,
        slots: int = 1,
        cores: Sequence[int] = (),
        target: str = WORKER,
        ready_by: str | None = None,
    ) -> None:
        warm = WARM if target == WORKER else (target.partition(":")[0],)
        self._preload = list(dict.fromkeys([*warm, *preload]))
        self._env = dict(env or {})
        self._cwd = cwd or os.getcwd()  # noqa: PTH109 - kept as text
        paths = sys.path if sys_path is None else sys_path
        self._sys_path = [path or self._cwd for path in paths]
        self._slots = slots
        self._cores = tuple(cores)
        self._target = target
        self._standbys: Standbys | None = None
        if ready_by is not None:
            (own,) = environments(None, {}, self._cores)
            self._standbys = Standbys(ready_by, own, self._cwd)
        self._busy = threading.Lock()
        self._closing = False
        self._stopped, self._stop = socket.socketpair()
        for end in (self._stopped, self._stop):
            end.setblocking(False)
        proc.end(proc.abandoned)
        self._server = self._new_server()

    def run(
        self,
        attempt: Attempt,
        on_phase: OnPhase | None = None,
        *,
        target: str | None = None,
        watches: Sequence[Watch] = (),
        span: RankSpan | None = None,
        made_ready: bool = False,
    ) -> Completed:
        """Run one attempt to its end, whatever end that is.

        An attempt over ranks (`resources.ranks`) has as many processes. They end together, with the
        first that ends badly; its record is the attempt's.

        Args:
            attempt: what to run.
            on_phase: called in this thread with each phase as the attempt reaches it.
            target: what runs it; None: the isolator's own target.
            watches: called while it runs, in this thread.
            span: which of its ranks run here; None: all.
            made_ready: whether its process is one that `make_ready` made, if there is one.
        """
        with self._busy, contextlib.ExitStack() as stack:
            started_at = utc_now()
            if span is None and attempt.resources.ranks > 1:
                span = stack.enter_context(on_one_node(attempt.resources.ranks))
            request = ProcessRequest.of_attempt(attempt, target or self._target)
            run = self._run(request, span, on_phase, watches, made_ready=made_ready)
            return self._completed(attempt, run, span, started_at)

    def screen(
        self,
        attempt: Attempt,
        target: str,
        on_phase: OnPhase | None = None,
        *,
        made_ready: bool = False,
    ) -> Completed:
        """Screen the trials of an attempt in one process, as far as it comes; arguments as of
        `run`.

        A trial that ends the process, or takes longer than the time limit, is the last that has a
        record. Where the process ended before the first trial, the incumbent may be why: then they
        are screened without it.
        """
        with self._busy:
            started_at = utc_now()
            request = ProcessRequest.of_attempt(attempt, target)
            run = self._run(request, None, on_phase, made_ready=made_ready)
            if attempt.incumbent is not None and run.died_at_once:
                attempt = attempt.model_copy(update={"incumbent": None, "incumbent_ms": None})
                run = self._run(ProcessRequest.of_attempt(attempt, target), None, on_phase)
            process = run.processes[0] if run.processes else None
            parts = [] if process is None else process.parts
            environment = self._environment(attempt)
            result = result_of_parts(attempt, parts, run.ends[0], started_at, environment)
            log = b"" if process is None else process.printed.value()
            return Completed(result, log, tuple(run.left_alive))

    def call(self, call: Call[Returned]) -> Returned | Cause:
        """Call a function in a fresh process; what it returned, or why it returned nothing."""
        with self._busy:
            return value_of_end(call, self._run(ProcessRequest.of_call(call)).ends[0])

    def make_ready(self, count: int) -> frozenset[int]:
        """Have `count` processes wait for attempts, if none does; the pids of those that wait.

        None is made ready for fewer than standby.FEWEST attempts; those that wait go on waiting.
        """
        if self._standbys is None:
            return frozenset()
        if count:
            # a server that has died is replaced by the next `run`
            with self._busy, contextlib.suppress(ServerDiedError):
                self._make_whole()
                self._standbys.fill(self._server, count)
        return frozenset(standby.pid for standby in self._standbys.waiting)

    def dismiss(self) -> None:
        """End the processes that wait for an attempt."""
        with self._busy, contextlib.suppress(ServerDiedError):
            if self._standbys is not None:
                self._standbys.dismiss()

    def processes(self) -> list[int]:
        """Every living process of this isolator: keeper, server and the running attempt's."""
        return self._server.processes()

    def family(self) -> list[int]:
        """The processes of the running attempt."""
        if self._server.closed:
            return []
        return self._server.family()

    def restart(self) -> None:
        """Start a fresh server: children of one server share address layout and imported state."""
        with self._busy:
            self._server.close()
            self._server = self._new_server()

    def kill(self) -> None:
        """End the running attempt, if there is one; `run` returns it as `lost`."""
        with contextlib.suppress(OSError):  # closed, or called so often that the pipe is full
            self._stop.send(b"x")

    def close(self) -> None:
        """End the running attempt, the server and what they started. A second call does nothing."""
        self._closing = True
        self.kill()
        if not self._busy.acquire(timeout=_STOP_S):
            self._server.hang_up()
            self._busy.acquire()
        try:
            if self._standbys is not None:
                self._standbys.forget()
            self._server.close()
            self._stop.close()
            self._stopped.close()
        finally:
            self._busy.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _run(
        self,
        request: ProcessRequest,
        span: RankSpan | None = None,
        on_phase: OnPhase | None = None,
        watches: Sequence[Watch] = (),
        *,
        made_ready: bool = False,
    ) -> _Run:
        """Run a request to its end. A server that died before it started anything is replaced."""
        self._forget_stop()
        own = environments(span, {**os.environ, **self._env}, self._cores)
        death = "the isolator is closed"
        for _ in range(_TRIES):
            if self._closing:
                break
            if self._server.closed:
                self._server = self._new_server()
            stop = self._stopped.fileno()
            try:
                self._make_whole()
                standby = None
                if made_ready and self._standbys is not None:
                    standby = self._standbys.take(self._server)
                monitor = AttemptMonitor(
                    self._server, request, self._slots, stop, on_phase, watches, own, standby
                )
                return _Run(monitor.run(self._cwd), monitor.processes, monitor.left_alive)
            except ServerDiedError as exc:  # before it started anything
                death = str(exc)
                self._server.close()
            except BaseException:  # an interrupt, or on_phase raised: nobody watches any more
                self._server.close()
                raise
        return _Run([ProcessEnd(Phase.BUILD, died=death)], [], [])

    def _completed(
        self, attempt: Attempt, run: _Run, span: RankSpan | None, started_at: str
    ) -> Completed:
        """An attempt whose processes have ended so."""
        environment = self._environment(attempt)
        results = [result_of_end(attempt, end, started_at, environment) for end in run.ends]
        if not run.processes:
            return Completed(results[0])
        logs = [process.printed.value() for process in run.processes]
        left_alive = tuple(run.left_alive)
        if span is None:
            return Completed(results[0], logs[0], left_alive)
        ends = []
        for result, process, log in zip(results, run.processes, logs, strict=True):
            answered = process.answer is not None
            end = RankEnd(result.record, process.ended_at, answered, process.killed, log)
            ends.append(end)
        record = joined(span.first, span.world_size, ends)
        result = results[0].model_copy(update={"record": record})
        return Completed(result, logs_joined(span.first, span.world_size, logs), left_alive)

    def _make_whole(self) -> None:
        """Wait for the server; where it could not import everything, put a fresh one in its place.

        An import that fails half-way leaves modules behind that are not whole: with torch's, every
        child would fail in its own way. What fails in two servers is left to the children.

        Raises:
            ServerDiedError: as of `ForkClient.ready`.
        """
        failed_before: set[str] = set()
        while failed := set(self._server.ready()):
            again = failed & failed_before
            self._preload = [name for name in self._preload if name not in again]
            failed_before |= failed
            self._server.close()
            if self._closing:
                raise ServerDiedError("the isolator is closed")
            self._server = self._new_server()

    def _new_server(self) -> ForkClient:
        return ForkClient(self._preload, self._env, self._sys_path, self._cwd)

    def _forget_stop(self) -> None:
        with contextlib.suppress(OSError):  # nothing was sent
            self._stopped.recv(4096)

    def _environment(self, attempt: Attempt) -> Environment:
        resources = attempt.resources
        return lambda: describe(attempt.device, resources.gpu_memory_gib, resources.cpus)["match"]
