"""The folders below one that is adopted, where somebody's answers may lie."""

from __future__ import annotations

import os
from pathlib import Path


def below(path: Path, deepest: int | None = None) -> list[Path]:
    """The folders below, in order, down to so many levels; none that is hidden, private or an
    environment of Python's, and none that may not be read.
    """
    found = []
    for here, names, _ in os.walk(path):
        if deepest is not None and len(Path(here).relative_to(path).parts) >= deepest:
            names.clear()
        kept = []
        for name in names:
            is_environment = (Path(here) / name / "pyvenv.cfg").is_file()
            if not name.startswith((".", "_")) and not is_environment:
                kept.append(name)
        names[:] = kept
        found += [Path(here) / name for name in kept]
    return sorted(found)
