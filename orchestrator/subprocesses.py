"""Programs started beside this process: ended with all that they started, read by their last line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

CLOSING_S = 5.0  # after a kill: a pipe that something outside the group still holds is given up


def run(line: Sequence[str], text: str, timeout_s: float) -> subprocess.CompletedProcess[str]:
    """Run a program in a process group of its own, which is killed as a whole when time is up.

    `subprocess.run` kills the program alone, and then waits for as long as anything that it started
    holds its pipes.

    Args:
        line: the program and its arguments.
        text: its input.
        timeout_s: seconds that it has.

    Raises:
        subprocess.TimeoutExpired: it took longer.
    """
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        line, stdin=pipe, stdout=pipe, stderr=pipe, text=True, errors="replace", process_group=0
    )
    try:
        said, errors = process.communicate(text, timeout=timeout_s)
    except BaseException:  # an interrupt, too: nobody would end it otherwise
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=CLOSING_S)
        raise
    return subprocess.CompletedProcess(line, process.returncode, said, errors)


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
