"""A starter sweep in a folder of the user's: the answer of `init`.

The files belong to the registry (its folder `starter`), which knows what its workloads compute;
here they are copied.
"""

from __future__ import annotations

import importlib.metadata
import importlib.resources
import keyword
import shlex
import sys
from importlib.resources.abc import Traversable
from pathlib import Path

from orchestrator.errors import RequestError
from orchestrator.usercode import registry

FOLDER, WORKLOAD_FOLDER = "starter", "starter/workload"
EXAMPLE = "softmax"  # what the starter of a workload computes


def init(directory: str | Path, workload: str | None = None) -> list[Path]:
    """Write the starter files into `directory`, which is made if need be; the paths written, the
    sweep file first.

    Args:
        directory: where.
        workload: the name of a workload of one's own to begin with; None: an implementation of a
            registered one.

    Raises:
        RequestError: one of the files is there already (nothing is written), or the folder cannot
            be written; or the workload's name is no name of a Python file, or hides a
            module.
    """
    folder = Path(directory)
    files = {}
    if workload is None:
        for entry in _starters(FOLDER):
            files[folder / entry.name] = entry.read_text(encoding="utf-8")
    else:
        if not workload.isidentifier() or not workload.isascii():
            raise RequestError(
                f"--workload: must be a name of letters, digits and underscores, found {workload!r}"
            )
        if keyword.iskeyword(workload) or workload in _importable():
            raise RequestError(
                f"--workload: {workload} is a word of Python or a module that is installed, which "
                f"{workload}.py would hide: give another name, my_{workload}"
            )
        for entry in _starters(WORKLOAD_FOLDER):
            text = entry.read_text(encoding="utf-8")
            for ending in (".py", ".yaml"):
                text = text.replace(f"{EXAMPLE}{ending}", f"{workload}{ending}")
            text = text.replace(f"name: {EXAMPLE}", f"name: {workload}")
            files[folder / entry.name.replace(EXAMPLE, workload)] = text
    taken = [path for path in files if path.exists() or path.is_symlink()]
    if taken:
        names = ", ".join(map(str, taken))
        raise RequestError(
            f"{names}: already there, and init overwrites nothing; name another folder"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in files.items():
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
    except OSError as error:
        raise RequestError(
            f"{folder} cannot be written ({error.strerror}): name another folder"
        ) from None
    return list(files)


def _importable() -> set[str]:
    """The names of the modules of Python and of what is installed."""
    return {*sys.stdlib_module_names, *importlib.metadata.packages_distributions()}


def next_steps(written: list[Path]) -> str:
    """What `init` says: which files there are now, and what to do with them."""
    sweep, *rest = written
    named = shlex.quote(str(sweep))
    commands = {
        f"orchestrator plan {named}": "what would run",
        f"orchestrator {named}": "run it: about half a minute on a CPU",
    }
    width = max(map(len, commands))
    lines = [
        f"wrote {', '.join(map(str, written))}",
        f"Next: put your code into {', '.join(map(str, rest))}, then",
    ]
    for command, purpose in commands.items():
        lines.append(f"  {command:<{width}}  # {purpose}")
    return "\n".join(lines)


def _starters(name: str) -> list[Traversable]:
    """The files to copy, the sweep file first."""
    folder = importlib.resources.files(registry.REGISTRY).joinpath(*name.split("/"))
    files = [entry for entry in folder.iterdir() if entry.name.endswith((".py", ".yaml"))]
    return sorted(files, key=lambda entry: (not entry.name.endswith(".yaml"), entry.name))
