"""Tests that import users' files leave the process as they found it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.usercode import neighbours


@contextmanager
def users_files_forgotten() -> Iterator[None]:
    """Within, users' files may be imported; afterwards neither they nor their folders are known."""
    path, meta, folders = list(sys.path), list(sys.meta_path), dict(neighbours._FOLDERS)
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__name__", name).startswith(
            neighbours.PREFIX
        ) or name.startswith("zzz"):
            del sys.modules[name]
    sys.path[:], sys.meta_path[:] = path, meta
    neighbours._FOLDERS.clear()
    neighbours._FOLDERS.update(folders)
