"""The life of a forked child: from the server's image to a process of its own, one attempt, one answer, the end."""

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
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from orchestrator.isolation import proc
from orchestrator.isolation.ranks import CORES
from orchestrator.machine.environment import usable_cores
from orchestrator.outcome import Phase
from orchestrator.record import ErrorInfo, TrialRecord
from orchestrator.trial import Attempt
from orchestrator.usercode.oom import is_out_of_memory

MAX_RECORD_BYTES = 16 * 2**20
EXIT_NO_PIPE = 113
EXIT_ORPHANED = 114

RunAttempt = Callable[[Attempt, Callable[[Phase], None]], TrialRecord]


def become(order: dict[str, Any], environment: Mapping[str, str], server: int, *, log: int, result: int) -> NoReturn:
    """Turn this fresh fork of the process `server` into the attempt that `order` describes, and end with it.

    Args:
        order: {"attempt": JSON text of an Attempt, "target": "module:function", "cwd": path}.
        environment: variables of this process beside the server's: which rank it is, where there are several.
        server: pid of the fork server; when it ends, so does this process.
        log: open file for what the attempt prints.
        result: open pipe for phases and the answer, see `ResultPipe`.
    """
    os.setsid()
    os.environ.update(environment)
    _pin(environment)
    proc.die_with_parent()
    if os.getppid() != server:
        os._exit(EXIT_ORPHANED)
    _plain_signals()
    _plain_files(log)
    _be_first_to_go()
    gc.enable()
    pipe = ResultPipe(result)
    answer = _answer(order, pipe)
    _flush()
    os._exit(0 if pipe.finish(answer) else EXIT_NO_PIPE)


def _pin(environment: Mapping[str, str]) -> None:
    """Run on the slot's own cores, where it has some: what it starts does, too."""
    if cores := environment.get(CORES):
        with suppress(OSError):  # the machine's cores may have changed since
            os.sched_setaffinity(0, {int(core) for core in cores.split(",")})


def know_this_machine() -> None:
    """Called in the server: have `environment.describe` look at the machine before the first fork, not after each."""
    from orchestrator.machine.environment import describe

    describe("cpu")
    if _has_gpu():
        describe("cuda")


def know_gradients() -> None:
    """Called in the server: import what torch does at the first gradient.

    A quarter of a second, and seconds where files are slow to open. No gradient may be taken here:
    torch's autograd does not survive a fork.
    """
    with suppress(ImportError):  # another torch may have it elsewhere
        import_module("torch.fx.experimental.symbolic_shapes")


def know_triton() -> None:
    """Called in the server: what Triton does before its first launch, where there is a GPU for it.

    It reads and hashes all of itself, libtriton.so included, for the key of its cache, and imports
    its second language: 0.5 s of an H200's first launch of 0.56 s. Both are kept by the process
    that did them, and by its forks.
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


def _plain_signals() -> None:
    """As in a new interpreter; SIGQUIT prints every thread's stack, so that a hang can be looked up in the log."""
    signal.set_wakeup_fd(-1)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for signum in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _plain_files(log: int) -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(null)
    os.close(log)
    faulthandler.enable(2)
    faulthandler.register(signal.SIGQUIT, 2)


def _be_first_to_go() -> None:
    """When memory runs out the kernel shall take this process, not the supervisor; and leave no core file."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        Path("/proc/self/oom_score_adj").write_text("1000")
    except OSError:  # a sandbox may forbid it; our own watchdog still acts first
        return


def _answer(order: dict[str, Any], pipe: ResultPipe) -> dict[str, Any]:
    try:
        attempt = Attempt.model_validate_json(order["attempt"])
        os.chdir(order["cwd"])
        _set_threads(attempt.resources.cpus)
        record = _target(order["target"])(attempt, pipe.phase)
    except BaseException as exc:  # noqa: BLE001 - whatever a worker lets through is an answer, never a silent death
        traceback.print_exc()
        return {"raised": _described(exc), "out_of_memory": is_out_of_memory(exc)}
    try:
        return {"record": _as_json(record)}
    except BaseException as exc:  # noqa: BLE001 - serialising runs what a user's object defines
        text = f"its result cannot be written as JSON: {type(exc).__name__}: {exc}"
        return {"raised": {"kind": "UnusableResult", "message": text}, "out_of_memory": False}


def _target(name: str) -> RunAttempt:
    module, _, attribute = name.partition(":")
    run: RunAttempt = getattr(import_module(module), attribute)
    return run


def _set_threads(cpus: int | None) -> None:
    """The fork server imported torch with one thread, for a fork is not sound beside others. Ranks share the cores."""
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


def _as_json(record: Any) -> dict[str, Any]:
    """The record as JSON values, with the environment that the journal's form leaves out.

    Raises:
        TypeError, ValueError: no record, or one that holds what JSON does not: NaN, infinity, an object, too much.
    """
    if not isinstance(record, TrialRecord):
        raise TypeError(f"a worker returns a TrialRecord, this one returned {type(record).__name__}")
    values = {**record.model_dump(mode="json", warnings="error"), "environment": record.environment}
    size = len(json.dumps(values, allow_nan=False))
    if size > MAX_RECORD_BYTES:
        raise ValueError(f"{size} bytes, at most {MAX_RECORD_BYTES} are taken")
    return values


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):  # closed or replaced by the trial
            continue
    ctypes.CDLL(None).fflush(None)


class ResultPipe:
    """One JSON object a line: {"phase": name} as phases are reached, then the answer.

    Only the process that made it writes, and only while the file is still the pipe it was given: a copy forked by the
    implementation ends where it would report, and a pipe closed by it, its number taken by another file, is left alone.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._pid = os.getpid()
        self._identity = _identity(fd)

    def phase(self, phase: Phase) -> None:
        """Say that a phase was reached."""
        self._write({"phase": str(phase)})

    def finish(self, answer: dict[str, Any]) -> bool:
        """Send the answer; whether the pipe was still there to take it."""
        return self._write(answer)

    def _write(self, message: dict[str, Any]) -> bool:
        if os.getpid() != self._pid:
            os._exit(0)
        if _identity(self._fd) != self._identity:
            return False
        data = json.dumps(message, allow_nan=False).encode() + b"\n"
        while data:
            data = data[os.write(self._fd, data) :]
        return True


def _identity(fd: int) -> tuple[int, int] | None:
    try:
        status = os.fstat(fd)
    except OSError:
        return None
    return status.st_dev, status.st_ino
