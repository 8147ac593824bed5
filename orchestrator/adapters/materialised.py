"""Code that a format keeps inside of JSON, or under names that differ from its files', as files to
import.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from orchestrator.usercode.text.file_facts import cache_folder


def materialised(sources: Mapping[str, str]) -> Path:
    """A folder that holds these files: path in it -> text. The same content has the same folder,
    written once.

    Raises:
        ValueError: a path that leads out of the folder.
    """
    digest = hashlib.sha256(json.dumps(dict(sources), sort_keys=True).encode()).hexdigest()[:24]
    folder = cache_folder() / "sources" / digest
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(dir=folder.parent))
    for name, text in sources.items():
        place = fresh / name
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise ValueError(f"the source file {name!r} lies outside of its folder")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")
    try:
        os.rename(fresh, folder)  # noqa: PTH104 - it must fail where another process was first
    except OSError:
        if not folder.is_dir():
            raise
    return folder
