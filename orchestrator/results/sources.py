"""Reads and writes sources.json: the files and packages behind each source hash.

By it a change of the code is told by file and package.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from orchestrator.util.files import write_atomically

FILE_NAME = "sources.json"
MOST_NAMED = 5

Described = dict[str, Any]  # "files" and "packages" as read, "imported" as found; see usercode


def read(directory: Path | None) -> dict[str, Described]:
    """Source hash -> files and packages, of those that are; empty if the file cannot be read."""
    if directory is None:
        return {}
    try:
        found = json.loads((directory / FILE_NAME).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {hash_: one for hash_, one in found.items() if _is_described(one)}


def _is_described(found: Any) -> bool:
    if not isinstance(found, dict):
        return False
    for part in ("files", "packages", "imported"):
        if not isinstance(found.get(part, {}), dict):
            return False
    return True


def write(directory: Path, sources: Mapping[str, Described]) -> None:
    """Write sources.json.

    Raises:
        OSError: it cannot be written.
    """
    write_atomically(directory / FILE_NAME, json.dumps(sources, indent=1, sort_keys=True) + "\n")


def joined(parts: Iterable[Described]) -> Described:
    """The files and packages of several implementations that are measured together."""
    whole: Described = {"files": {}, "packages": {}}
    for part in parts:
        for kind in whole:
            whole[kind].update(part.get(kind, {}))
    return whole


def differences(was: Described | None, now: Described | None) -> list[str]:
    """How two sources differ: "helper.py changed", "numpy 2.3.0, now 2.4.0".

    Empty if either is not known.
    """
    if not was or not now:
        return []
    found = _changed(was.get("files", {}), now.get("files", {}), "{name} changed")
    found += _changed(was.get("packages", {}), now.get("packages", {}), "{name} {was}, now {now}")
    if len(found) > MOST_NAMED:
        return [*found[:MOST_NAMED], f"and {len(found) - MOST_NAMED} more"]
    return found


def _changed(was: Mapping[str, str], now: Mapping[str, str], words: str) -> list[str]:
    found = []
    for name in sorted({*was, *now}):
        if name not in now:
            found.append(f"{name} is gone")
        elif name not in was:
            found.append(f"{name} is new")
        elif was[name] != now[name]:
            found.append(words.format(name=name, was=was[name], now=now[name]))
    return found
