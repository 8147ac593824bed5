"""Runs one request in a fresh fork of the server: sets the process up, answers once, and exits."""

from __future__ import annotations

import ctypes
import faulthandler
import gc
import json
import os
import resource
import signal
import sys
import traceback
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from orchestrator.attempt_result import AttemptResult
from orchestrator.isolation import proc
from orchestrator.isolation.messages import Signatures
from orchestrator.isolation.ranks import CORES
from orchestrator.machine.environment import usable_cores
from orchestrator.outcome import Phase
from orchestrator.record import ErrorInfo
from orchestrator.trial import Attempt
from orchestrator.usercode.oom import is_out_of_memory
from orchestrator.util.quantities import MIB

MAX_RESULT_BYTES = 16 * MIB
EXIT_NO_PIPE = 113
EXIT_ORPHANED = 114
READY = b"ready\n"  # what a process that stands by reports once it can be given an attempt


def become(
    request: dict[str, Any], environment: Mapping[str, str], server: int, *, log: int, result: int
) -> NoReturn:
    """Do what `request` asks in this fresh fork of `server`, and exit.

    Args:
        request: {"target": "module:function", "cwd": path, "cpus": how many or null}, and either
            "attempt", the JSON text of an Attempt, or "argument", that of what a function takes;
            "key", of what it reports.
        environment: variables of this process besides the server's: its rank, if there are several.
        server: pid of the fork server; when it ends, so does this process.
        log: open file for what the attempt prints.
        result: open pipe for phases and the answer, see `ResultPipe`.
    """
    _settle(environment, server, log)
    _answer_and_exit(request, result)


def stand_by(
    request: dict[str, Any], server: int, *, log: int, result: int, order: int
) -> NoReturn:
    """Make this fresh fork of `server` ready, say so, wait for a request, do it, and exit.

    Args:
        request: {"ready_by": "module:function" that is called, "cwd": path, "environment":
            variables of this process besides the server's}.
        server: pid of the fork server.
        log: open file for what the process prints.
        result: open pipe for its readiness, then as of `become`.
        order: open pipe for the request, as of `become`, one line; its end without one ends this
            process.
    """
    _settle(request["environment"], server, log)
    os.chdir(request["cwd"])
    module, _, name = request["ready_by"].partition(":")
    getattr(import_module(module), name)()
    gc.collect()
    gc.freeze()  # as the server does: no collection of the attempt walks what was imported here
    os.write(result, READY)
    with os.fdopen(order, "rb") as orders:
        line = orders.readline()
    if not line.endswith(b"\n"):
        os._exit(0)
    _answer_and_exit(json.loads(line), result)


def _settle(environment: Mapping[str, str], server: int, log: int) -> None:
    """Set this process up: its session, variables, cores, signals and output."""
    os.setsid()
    os.environ.update(environment)
    _pin_to_cores(environment)
    proc.die_with_parent()
    # The kernel signals the death of a parent only from the call above on: the server may have
    # ended before it, and then nobody would end this process.
    if os.getppid() != server:
        os._exit(EXIT_ORPHANED)
    _reset_signals()
    _redirect_output(log)
    _prefer_for_oom_kill()
    gc.enable()


def _answer_and_exit(request: dict[str, Any], result: int) -> NoReturn:
    pipe = ResultPipe(result, request.pop("key"))
    answer = _answer(request, pipe)
    _flush()
    os._exit(0 if pipe.finish(answer) else EXIT_NO_PIPE)


def _pin_to_cores(environment: Mapping[str, str]) -> None:
    """Run on the slot's own cores, if it has some. What this process starts inherits them."""
    if cores := environment.get(CORES):
        with suppress(OSError):  # the machine's cores may have changed since
            os.sched_setaffinity(0, {int(core) for core in cores.split(",")})


def know_this_machine() -> None:
    """Describe the machine once in the server: every fork inherits the cached facts."""
    from orchestrator.machine.environment import describe

    describe("cpu")
    if _has_gpu():
        describe("cuda")


def know_gradients() -> None:
    """Import in the server what torch imports at the first gradient.

    That takes a quarter of a second, and seconds where files open slowly. No gradient may be taken
    here: torch's autograd does not survive a fork.
    """
    with suppress(ImportError):  # another torch may have it elsewhere
        import_module("torch.fx.experimental.symbolic_shapes")


def know_triton() -> None:
    """Do in the server what Triton does before its first launch, if there is a GPU.

    Triton reads and hashes all of itself, libtriton.so included, for the key of its cache, and
    imports its second language: 0.5 s of an H200's first launch of 0.56 s. Forks inherit both.
    """
    if not _has_gpu():
        return
    with suppress(ImportError):  # Triton need not be there
        import_module("triton")
    with suppress(ImportError, AttributeError):  # an inner function, elsewhere in other versions
        import_module("triton.runtime.cache").triton_key()
    with suppress(ImportError):
        import_module("triton.experimental.gluon")


def _has_gpu() -> bool:
    return bool(os.environ.get("CUDA_VISIBLE_DEVICES", "0")) and Path("/dev/nvidiactl").exists()


def _reset_signals() -> None:
    """Handle signals as a new interpreter does: the server's handlers are inherited by a fork."""
    signal.set_wakeup_fd(-1)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for signum in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _redirect_output(log: int) -> None:
    """Read from /dev/null, print into the log; SIGQUIT prints every thread's stack there.

    The stacks show where a trial hung that ran into its time limit.
    """
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(null)
    os.close(log)
    faulthandler.enable(2)
    faulthandler.register(signal.SIGQUIT, 2)


def _prefer_for_oom_kill() -> None:
    """Make the kernel's OOM killer choose this process, not the supervisor; disable core dumps."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        Path("/proc/self/oom_score_adj").write_text("1000")
    except OSError:  # a sandbox may forbid it; our own watchdog still acts first
        return


def _answer(request: dict[str, Any], pipe: ResultPipe) -> dict[str, Any]:
    """Do what is asked: {"result": ...} of an attempt, {"value": ...} of a called function or of an
    attempt that reported its results in parts, or {"raised": ..., "out_of_memory": bool}.
    """
    try:
        os.chdir(request["cwd"])
        _set_threads(request["cpus"])
        module, _, name = request["target"].partition(":")
        function: Any = getattr(import_module(module), name)
        if "attempt" in request:
            reports = [pipe.phase, pipe.part] if request["parts"] else [pipe.phase]
            answer = function(Attempt.model_validate_json(request["attempt"]), *reports)
        else:
            answer = function(request["argument"])
    except BaseException as exc:  # noqa: BLE001 - any exception is an answer, never a silent death
        traceback.print_exc()
        return {"raised": _described(exc), "out_of_memory": is_out_of_memory(exc)}
    try:
        if "attempt" in request and not request["parts"]:
            return {"result": _as_json(answer)}
        return {"value": answer.model_dump(mode="json")}
    except BaseException as exc:  # noqa: BLE001 - serialising runs code of a user's object
        text = f"its result cannot be written as JSON: {type(exc).__name__}: {exc}"
        return {"raised": {"kind": "UnusableResult", "message": text}, "out_of_memory": False}


def _set_threads(cpus: int | None) -> None:
    """Give torch its threads: the server imported it with one, as forks need. Ranks share."""
    count = max(1, (cpus or usable_cores()) // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    os.environ["OMP_NUM_THREADS"] = str(count)
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(count)


def _described(exc: BaseException) -> dict[str, str]:
    try:
        message = str(exc)
    except Exception:  # noqa: BLE001 - a user's exception may have a broken __str__
        message = "(it cannot be printed)"
    return ErrorInfo.of(type(exc).__name__, message).model_dump()


def _as_json(result: Any) -> dict[str, Any]:
    """The result of an attempt as JSON values.

    Raises:
        TypeError, ValueError: it is none, is too large, or holds NaN, infinity or an object.
    """
    if not isinstance(result, AttemptResult):
        raise TypeError(
            f"a worker returns an AttemptResult, this one returned {type(result).__name__}"
        )
    values = result.model_dump(mode="json", warnings="error")
    size = len(json.dumps(values, allow_nan=False))
    if size > MAX_RESULT_BYTES:
        raise ValueError(f"{size} bytes, at most {MAX_RESULT_BYTES} are taken")
    return values


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):  # closed or replaced by the trial
            continue
    ctypes.CDLL(None).fflush(None)


class ResultPipe:
    """Writes one signed JSON object a line: {"phase": name} as phases are reached, then the answer.

    Only the process that made it writes: a copy forked by the implementation exits where it would
    report. And it writes only while the descriptor is still its pipe: the implementation may have
    closed it, and its number may now be another file's.
    """

    def __init__(self, fd: int, key: str) -> None:
        self._fd = fd
        self._signatures = Signatures(key)
        self._pid = os.getpid()
        self._identity = _identity(fd)

    def phase(self, phase: Phase) -> None:
        """Report that a phase was reached."""
        self._write({"phase": str(phase)})

    def part(self, result: AttemptResult) -> None:
        """Report the result of one trial of several, as soon as it is there."""
        self._write({"part": _as_json(result)})

    def finish(self, answer: dict[str, Any]) -> bool:
        """Send the answer; False: the pipe is closed."""
        return self._write(answer)

    def _write(self, message: dict[str, Any]) -> bool:
        if os.getpid() != self._pid:
            os._exit(0)
        if _identity(self._fd) != self._identity:
            return False
        line = json.dumps(message, allow_nan=False).encode()
        data = self._signatures.signed(line) + b"\n"
        while data:
            data = data[os.write(self._fd, data) :]
        return True


def _identity(fd: int) -> tuple[int, int] | None:
    try:
        status = os.fstat(fd)
    except OSError:
        return None
    return status.st_dev, status.st_ino
