"""A starter sweep in a folder of the user's: the answer of `init`.

The files belong to the registry (its folder `starter`), which knows what its workloads compute; here they are copied.
"""

from __future__ import annotations

import importlib.resources
from importlib.resources.abc import Traversable
from pathlib import Path

from orchestrator.errors import RequestError
from orchestrator.usercode import registry

FOLDER = "starter"


def init(directory: str | Path) -> list[Path]:
    """Write the starter files into `directory`, which is made if need be; the paths written, the sweep file first.

    Raises:
        RequestError: one of the files is there already (nothing is written), or the folder cannot be written.
    """
    folder = Path(directory)
    files = {folder / entry.name: entry.read_text(encoding="utf-8") for entry in _starters()}
    taken = [path for path in files if path.exists() or path.is_symlink()]
    if taken:
        names = ", ".join(map(str, taken))
        raise RequestError(f"init overwrites nothing, and there is already {names}: name another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in files.items():
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
    except OSError as error:
        raise RequestError(f"{folder} cannot be written ({error.strerror}): name another folder") from None
    return list(files)


def next_steps(written: list[Path]) -> str:
    """What `init` says: which files there are now, and what to do with them."""
    sweep, *rest = written
    commands = {
        f"python -m orchestrator plan {sweep}": "what would run",
        f"python -m orchestrator {sweep}": "run it: about half a minute on a CPU",
    }
    width = max(map(len, commands))
    return "\n".join(
        [
            f"wrote {', '.join(map(str, written))}",
            f"Next: put your code into {', '.join(map(str, rest))}, then",
            *(f"  {command:<{width}}  # {purpose}" for command, purpose in commands.items()),
        ]
    )


def _starters() -> list[Traversable]:
    """The files to copy, the sweep file first."""
    folder = importlib.resources.files(registry.REGISTRY) / FOLDER
    files = [entry for entry in folder.iterdir() if entry.name.endswith((".py", ".yaml"))]
    return sorted(files, key=lambda entry: (not entry.name.endswith(".yaml"), entry.name))
