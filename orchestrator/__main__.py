"""`python -m orchestrator`."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType


def leave(number: int, _frame: FrameType | None) -> None:
    """What a signal does outside of a sweep's own handling, the seconds of importing included."""
    os.write(2, f"interrupted by {signal.Signals(number).name}\n".encode())
    # Those that a command starts beside it are in groups of their own, which no Ctrl-C reaches
    started = sys.modules.get("orchestrator.util.subprocesses")
    if started is not None:
        started.kill_all()
    os._exit(128 + number)


def main() -> int:
    """Run one command; returns the exit code."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, leave)
    from orchestrator.cli.main import main

    code = main()
    # someone waits for the end, and libraries' own last deeds may take long: the sentinel clears up
    if code > 128:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)
    return code


if __name__ == "__main__":
    sys.exit(main())
