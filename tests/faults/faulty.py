"""Implementations that do what must be survived: each is a `build`, and does its worst when it is
called.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Call = Callable[..., Any]


def when_called(worst: Call) -> Call:
    """A build function whose implementation does its worst when it is called."""

    def build(config: Any) -> Call:
        return lambda *inputs: worst(config)

    build.__name__ = worst.__name__
    return build


@when_called
def sound(config: Any) -> float:
    """Nothing is wrong here."""
    return 1.0


@when_called
def raises(config: Any) -> None:
    raise ValueError("three is not a head count")


@when_called
def raises_unprintable(config: Any) -> None:
    class SilentError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    raise SilentError


@when_called
def raises_at_length(config: Any) -> None:
    raise ValueError("x" * 5_000_000)


@when_called
def exits(config: Any) -> None:
    sys.exit(3)


@when_called
def interrupts(config: Any) -> None:
    raise KeyboardInterrupt


@when_called
def aborts(config: Any) -> None:
    print("about to abort")
    os.abort()


@when_called
def segfaults(config: Any) -> None:
    ctypes.string_at(0)


@when_called
def kills_itself(config: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@when_called
def kills_its_group(config: Any) -> None:
    os.killpg(0, signal.SIGKILL)


@when_called
def kills_its_parent(config: Any) -> None:
    subprocess.Popen(["sleep", config.options["nap"]], start_new_session=True)
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(600)


@when_called
def leaves_silently(config: Any) -> None:
    os._exit(0)


@when_called
def leaves_from_a_thread(config: Any) -> None:
    threading.Thread(target=os._exit, args=(7,)).start()
    time.sleep(600)


@when_called
def eats_memory(config: Any) -> None:
    hoard = []
    while True:
        hoard.append(bytearray(os.urandom(4096) * 16_384))


@when_called
def eats_memory_by_proxy(config: Any) -> None:
    code = "import os, time\nhoard = [bytearray(os.urandom(4096) * 16384) for _ in range(400)]\ntime.sleep(600)"
    subprocess.run([sys.executable, "-c", code], start_new_session=True)


@when_called
def cannot_allocate(config: Any) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (2**35, 2**35))
    bytearray(2**36)


@when_called
def hangs(config: Any) -> None:
    time.sleep(600)


@when_called
def hangs_with_a_family(config: Any) -> None:
    """A child, a grandchild in its own session, and one that was orphaned on purpose with an empty
    environment.
    """
    subprocess.Popen(["sleep", config.options["nap"]])
    subprocess.Popen(["sleep", config.options["nap"]], start_new_session=True)
    subprocess.run(
        ["sh", "-c", "setsid sleep $0 & exit", config.options["nap"]], env={}, check=False
    )
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(600)
    time.sleep(600)


@when_called
def leaves_a_family(config: Any) -> float:
    """Answers, and leaves behind what should have been ended."""
    subprocess.Popen(["sleep", config.options["nap"]])
    subprocess.Popen(["sh", "-c", "setsid sleep $0 & exit", config.options["nap"]])
    return 1.0


@when_called
def ignores_signals(config: Any) -> None:
    for signum in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(signum, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals))
    time.sleep(600)


@when_called
def stops_itself(config: Any) -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


@when_called
def forks_on(config: Any) -> float:
    """Two processes go on from here, and both would answer."""
    os.fork()
    return 1.0


@when_called
def prints_a_lot(config: Any) -> float:
    line = "x" * 9_999 + "\n"
    print("the first line")
    for _ in range(10_000):
        sys.stdout.write(line)
    print("the last line")
    return 1.0


@when_called
def prints_oddly(config: Any) -> float:
    sys.stdout.buffer.write(b"\xff\x00\xfe no text")
    print("\udcff half a character")
    return 1.0


@when_called
def answers_nan(config: Any) -> float:
    return float("nan")


@when_called
def answers_an_object(config: Any) -> Any:
    return object()


@when_called
def answers_text(config: Any) -> str:
    return "no record at all"


@when_called
def answers_hugely(config: Any) -> Any:
    return {f"{index:0100}": 1.0 for index in range(170_000)}


@when_called
def closes_files(config: Any) -> float:
    os.closerange(0, 4096)
    return 1.0


@when_called
def takes_over_files(config: Any) -> float:
    """Another file ends up under the number of the result pipe."""
    os.closerange(3, 4096)
    for _ in range(50):
        os.open(os.devnull, os.O_RDWR)
    return 1.0


@when_called
def scribbles(config: Any) -> float:
    """Writes into every file it finds open."""
    for fd in range(3, 64):
        try:
            os.write(fd, b"not json\n{}\n[1]\n")
        except OSError:
            continue
    return 1.0


@when_called
def forges_an_answer(config: Any) -> float:
    """Writes what our own code would into every file it finds open, with a signature like ours."""
    answer = (
        b'{"raised": {"kind": "Forged", "message": "not by the harness"}, "out_of_memory": false}'
    )
    for fd in range(3, 64):
        for start in (b"", b"0" * 32 + b" "):
            try:
                os.write(fd, start + b'{"phase": "done"}\n' + start + answer + b"\n")
            except OSError:
                continue
    return 1.0


@when_called
def closes_streams(config: Any) -> float:
    sys.stdout.close()
    sys.stderr.close()
    return 1.0


@when_called
def changes_the_world(config: Any) -> float:
    """Everything global that a process has, changed."""
    os.chdir("/")
    os.environ["LEFT_BEHIND"] = "1"
    os.environ.pop("PATH", None)
    os.umask(0o777)
    sys.path.clear()
    sys.modules.pop("json", None)
    sys.setrecursionlimit(200)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    os.nice(5)
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_default_dtype(torch.float64)
        torch.set_num_threads(1)
        torch.set_grad_enabled(False)
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.use_deterministic_algorithms(True)
    return 1.0


def world() -> dict[str, Any]:
    """What `changes_the_world` changes, as it is now."""
    state: dict[str, Any] = {
        "cwd": str(Path.cwd()),
        "left_behind": os.environ.get("LEFT_BEHIND"),
        "path": "PATH" in os.environ,
        "sys.path": len(sys.path),
        "umask": os.umask(0o022),
        "recursion": sys.getrecursionlimit(),
        "sigint": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
        "sigterm": signal.getsignal(signal.SIGTERM) == signal.SIG_DFL,
        "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
        "files": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "nice": os.nice(0),
        "threads": threading.active_count(),
    }
    if (torch := sys.modules.get("torch")) is not None:
        state["torch"] = [
            str(torch.get_default_dtype()),
            torch.get_num_threads(),
            torch.is_grad_enabled(),
            torch.backends.cuda.matmul.allow_tf32,
            torch.are_deterministic_algorithms_enabled(),
        ]
    return state


@when_called
def tells_the_world(config: Any) -> float:
    print(world())
    return 1.0
