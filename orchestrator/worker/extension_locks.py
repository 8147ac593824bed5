"""Locks that a killed trial left in the folder where torch builds C++ and CUDA extensions are taken
away.

torch waits for such a lock without a limit, so that one trial that ended while it compiled would
stop every later one. The folder is ours alone; each process of a trial holds a shared lock on it
that ends with the process, and who finds that nobody else does may clear up.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from orchestrator.usercode.text.file_facts import cache_folder

VARIABLE = "TORCH_EXTENSIONS_DIR"
_in_use: dict[Path, int] = {}


def build_extensions_apart() -> None:
    """Have torch build extensions in a folder of ours, cleared of what dead processes left.

    Whoever has named a folder of their own keeps it as it is.
    """
    folder = cache_folder() / "torch_extensions"
    if os.environ.setdefault(VARIABLE, str(folder)) != str(folder) or folder in _in_use:
        return
    with suppress(OSError):  # no home to write to: torch will say what it thinks of that
        folder.mkdir(parents=True, exist_ok=True)
        # until the process ends
        handle = os.open(folder / ".in_use", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        _in_use[folder] = handle
        with suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for left in folder.rglob("lock"):
                left.unlink(missing_ok=True)
        fcntl.flock(handle, fcntl.LOCK_SH)
