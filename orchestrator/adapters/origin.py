"""What an adapter keeps with a workload that it made: the definition or the task that it is of."""

from __future__ import annotations

from contextlib import suppress
from typing import TypeVar

from orchestrator.usercode.workload_file import FileWorkload
from orchestrator.workload import Workload

Kept = TypeVar("Kept")


def origin(workload: Workload, name: str, kind: type[Kept]) -> Kept | None:
    """What the adapter keeps under a name; None: the workload is of another kind."""
    if isinstance(workload, FileWorkload):
        with suppress(Exception):  # another adapter's, or a user's file, knows no such name
            found = workload.calls.get(name, None)
            return found if isinstance(found, kind) else None
    return None
