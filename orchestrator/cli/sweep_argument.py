"""The sweep file that a command names: what is no such file is refused with what was meant."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from orchestrator.cli.demo import shipped
from orchestrator.errors import RequestError, SweepNotFoundError
from orchestrator.plan.sweep import Sweep


def load(path: str, overrides: Sequence[str] = (), only: str | None = None) -> Sweep:
    """The sweep of a file.

    Raises:
        RequestError: it is Python, a sweep that was run, or one that came with the package; else
            what `Sweep.load` refuses.
    """
    quoted = shlex.quote(path)
    if path.endswith(".py") and Path(path).is_file():
        raise RequestError(
            f"{path} is Python, and a sweep file is YAML: `orchestrator try {quoted}:NAME` tries a "
            "function of it, `orchestrator init` writes a starter sweep"
        )
    if not Path(path).exists():
        name = Path(path).stem
        if name in shipped():
            raise RequestError(
                f"{path}: no such file here; `orchestrator demo {shlex.quote(name)}` runs the "
                f"sweep of that name that came with this installation ({shipped()[name]})"
            )
        from orchestrator.results import lookup  # a fifteenth of what `plan` takes

        try:
            found = lookup.find(path)
        except SweepNotFoundError:
            pass
        else:
            raise RequestError(
                f"{path}: no such sweep file, but a sweep that was run ({found.name}): "
                f"`orchestrator resume {quoted}` goes on with it"
            )
    return Sweep.load(path, overrides, only)
