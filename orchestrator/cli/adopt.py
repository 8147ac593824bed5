"""Looks at somebody's folder of problems, says what it found and writes a sweep over it: the answer
of `adopt`.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from orchestrator.errors import RequestError, UnknownNameError
from orchestrator.usercode import workloads

FILE = "sweep.yaml"
DEEPEST = 3  # folders below the one that is named, where problems are looked for
MOST_SHOWN = 12


def adopt(path: str | Path, output: str | Path | None = None) -> tuple[Path, str]:
    """Write a sweep file over the problems at `path`; the file, and what was found in words.

    Args:
        path: a KernelBench-style folder, a flashinfer-bench definition or data set, a GPU MODE
            task.
        output: the sweep file to write; None: sweep.yaml beside what was found.

    Raises:
        RequestError: nothing of a known format is there, or several things are, the file is there
            already, or it cannot be written.
    """
    place = Path(path)
    if not place.exists():
        raise RequestError(f"there is no {place}")
    there = place.resolve()
    name = _format_of(there)
    if name is None:
        there, name = _only_one_below(place)
    found = workloads.adapter(name).adopted(there)
    assert found is not None
    return _write(name, there, found, output)


def _format_of(place: Path) -> str | None:
    """The format that the problems at a path are of; None: there are none."""
    for name in workloads.adapters():
        try:
            adapter = workloads.adapter(name)
        except UnknownNameError:  # of another package; what is of our formats is found without it
            continue
        if adapter.adopted(place) is not None:
            return name
    return None


def _only_one_below(place: Path) -> tuple[Path, str]:
    """The folder, or the definition, below `place` that holds problems, and its format.

    Raises:
        RequestError: there is none, or more than one.
    """
    found = {}
    for below in _candidates(place):
        try:
            name = _format_of(below.resolve())
        except RequestError:  # of a format, and it has what the adapter does not know
            continue
        if name is not None:
            found[below] = name
    if not found:
        known = ", ".join(workloads.adapters())
        raise RequestError(f"{place} holds no problems of a format that is known here: {known}")
    if len(found) > 1:
        lines = [f"  orchestrator adopt {below}  # {name}" for below, name in found.items()]
        if len(lines) > MOST_SHOWN:
            lines[MOST_SHOWN:] = [f"  and {len(lines) - MOST_SHOWN} more"]
        shown = "\n".join(lines)
        raise RequestError(f"{place} holds problems in {len(found)} places; adopt one:\n{shown}")
    ((below, name),) = found.items()
    return below.resolve(), name


def _candidates(place: Path) -> Iterator[Path]:
    """Folders below, nearest first, and the definitions of a data set."""
    if not place.is_dir():
        return
    yield from sorted((place / "definitions").rglob("*.json"))
    level = [place]
    for _ in range(DEEPEST):
        inside: list[Path] = []
        for folder in level:
            inside += sorted(folder.iterdir())
        level = [one for one in inside if one.is_dir() and not one.name.startswith((".", "_"))]
        yield from level


def _write(
    name: str, place: Path, found: dict[str, Any], output: str | Path | None
) -> tuple[Path, str]:
    left_out = found.pop("left_out", [])
    folder = place if place.is_dir() else place.parent
    file = folder / FILE if output is None else Path(output)
    if file.resolve().parent != folder:
        found = _rebased(found, folder)
    slug = re.sub(r"[^A-Za-z0-9._-]", "-", place.stem).strip("-.") or name
    content = {"name": slug[:64], "description": f"the {name} problems of {place.name}", **found}
    content["measure"] = {"max_time_s": 1.0}
    text = io.StringIO()
    YAML().dump(content, text)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("x", encoding="utf-8") as opened:
            opened.write(text.getvalue())
    except FileExistsError:
        raise RequestError(
            f"adopt overwrites nothing, and there is already {file}: give another with --output"
        ) from None
    except OSError as error:
        raise RequestError(
            f"{file} cannot be written ({error.strerror}): give another with --output"
        ) from None
    labels = ", ".join(entry["label"] for entry in found["implementations"])
    lines = [f"{place.name} is of the format {name}; implementations: {labels}"]
    lines += [f"  left out: {why}" for why in left_out]
    return file, "\n".join(lines)


def _rebased(found: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The same with paths that hold wherever the sweep file lies."""

    def moved(ref: str) -> str:
        name, _, path = ref.partition(":")
        return f"{name}:{(folder / path).resolve()}"

    entries = [{**entry, "use": moved(entry["use"])} for entry in found["implementations"]]
    return {**found, "workload": moved(found["workload"]), "implementations": entries}
