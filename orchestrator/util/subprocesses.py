"""Programs started beside this process: ended with all that they start, read by their last line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

_running: set[int] = set()  # what ends with this process, also where a signal ends that at once
CLOSING_S = 5.0  # after a kill: a pipe that something outside the group still holds is given up


def run(line: Sequence[str], text: str, timeout_s: float) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; arguments and errors as of `start` and `finish`."""
    return finish(start(line), text, timeout_s)


def start(line: Sequence[str]) -> subprocess.Popen[str]:
    """Start a program and its arguments in a process group of its own, with pipes to it."""
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        line, stdin=pipe, stdout=pipe, stderr=pipe, text=True, errors="replace", process_group=0
    )
    _running.add(process.pid)
    return process


def finish(
    process: subprocess.Popen[str], text: str, timeout_s: float
) -> subprocess.CompletedProcess[str]:
    """Give a started program its input and wait for its end, which comes when time is up.

    Args:
        process: as `start` returned it.
        text: its input.
        timeout_s: seconds that it has from here on.

    Raises:
        subprocess.TimeoutExpired: it took longer.
    """
    try:
        said, errors = process.communicate(text, timeout=timeout_s)
    except BaseException:  # an interrupt, too: nobody would end it otherwise
        end(process)
        raise
    _running.discard(process.pid)
    return subprocess.CompletedProcess(process.args, process.returncode, said, errors)


def end(process: subprocess.Popen[str]) -> None:
    """Kill a started program with all that it started.

    `Popen.kill` kills the program alone; who reads its pipes then waits for as long as anything
    that it started holds them.
    """
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    _running.discard(process.pid)
    with suppress(subprocess.TimeoutExpired):
        process.communicate(timeout=CLOSING_S)


def kill_all() -> None:
    """Kill every program that was started here and has not ended, without waiting for its end."""
    for pid in tuple(_running):
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)


def last_json_line(done: subprocess.CompletedProcess[str]) -> Any:
    """What a program answered: the JSON of its last line, whatever it printed before.

    Raises:
        ValueError: it failed, or its last line is no JSON; the message is why, in one line.
    """
    lines = done.stdout.strip().splitlines()
    if done.returncode == 0 and lines:
        with suppress(ValueError):
            return json.loads(lines[-1])
    errors = done.stderr.strip().splitlines()
    raise ValueError(errors[-1] if errors else f"exit {done.returncode}, and no answer")
