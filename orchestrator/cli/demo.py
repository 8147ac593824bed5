"""`orchestrator demo`: a small sweep of what comes with the package, for whoever has installed it
and nothing else.
"""

from __future__ import annotations

import importlib.resources
from collections.abc import Iterator
from pathlib import Path

from orchestrator.errors import RequestError, suggestion
from orchestrator.usercode import registry

NAME = "quick"
FOLDER = "sweeps"


def shipped() -> dict[str, Path]:
    """Name -> path of each sweep file that came with the package, or lies in the checkout that it
    runs from.
    """
    found: dict[str, Path] = {}
    for folder in _folders():
        for path in sorted(folder.glob("*.yaml")):
            found.setdefault(path.stem, path)
    return found


def sweep_file(name: str = NAME) -> Path:
    """The path of one of them.

    Raises:
        RequestError: there is none of that name.
    """
    known = shipped()
    if name not in known:
        raise RequestError(
            f"no sweep {name!r} came with this installation{suggestion(name, known)}; "
            "`orchestrator init` writes a starter of your own"
        )
    return known[name]


def _folders() -> Iterator[Path]:
    for package in (registry.REGISTRY, "orchestrator"):
        place = Path(str(importlib.resources.files(package)))
        for folder in (place / FOLDER, place.parent / FOLDER):  # installed; in a checkout
            if folder.is_dir():
                yield folder
