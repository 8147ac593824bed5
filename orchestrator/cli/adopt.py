"""Looks at somebody's folder of problems, says what it found and writes a sweep over it: the answer
of `adopt`.
"""

from __future__ import annotations

import io
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from orchestrator.adapters import folders
from orchestrator.errors import RequestError, UnknownNameError
from orchestrator.usercode import workloads

FILE = "sweep.yaml"
LONGEST_LABEL = 64
DEEPEST = 3  # folders below the one that is named, where problems are looked for
MOST_SHOWN = 12
LOOKS = {
    "kernelbench": "a folder of Python files with Model, get_inputs and get_init_inputs, or one",
    "flashinfer-bench": "a definition in JSON, or the data set that it lies in",
    "gpu-mode": "a folder with task.yml and reference.py",
}


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
        raise RequestError(f"{place}: there is no such file or folder")
    there = place.resolve()
    name = _format_of(there)
    if name is None:
        there, name = _only_one_below(place)
    found = workloads.adapter(name).adopted(there)
    assert found is not None
    entries = _labelled(found["implementations"])
    return _write(name, there, {**found, "implementations": entries}, output)


def _format_of(place: Path) -> str | None:
    """The format that the problems at a path are of; None: there are none.

    Raises:
        RequestError: of a format, and it has what the adapter does not know; or no adapter of ours
            finds any, and that of another package fails.
    """
    failed = []
    for name in workloads.adapters():
        try:
            adapter = workloads.adapter(name)
        except UnknownNameError:  # of another package; what is of our formats is found without it
            continue
        try:
            if adapter.adopted(place) is not None:
                return name
        except RequestError:
            raise
        except Exception as error:
            if name in workloads.OWN_ADAPTERS:
                raise
            failed.append(f"the adapter {name} fails with {type(error).__name__}: {error}")
    if failed:
        raise RequestError("; ".join(failed))
    return None


def _labelled(entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The entries with labels that are short and unique: names of files and folders need not be."""
    taken: set[str] = set()
    found = []
    for entry in entries:
        stated = str(entry["label"])
        label, number = stated[:LONGEST_LABEL], 1
        while label in taken:
            number += 1
            label = f"{stated[: LONGEST_LABEL - len(str(number)) - 1]}-{number}"
        taken.add(label)
        found.append({**entry, "label": label})
    return found


def _only_one_below(place: Path) -> tuple[Path, str]:
    """The folder, or the definition, below `place` that holds problems, and its format.

    Raises:
        RequestError: there is none, or more than one.
    """
    found, refused = {}, []
    for below in _candidates(place):
        try:
            name = _format_of(below.resolve())
        except RequestError as error:  # of a format, and it has what the adapter does not know
            refused.append(str(error))
            continue
        if name is not None:
            found[below] = name
    refused = list(dict.fromkeys(refused))
    if not found and refused:
        more = f" ({len(refused) - 1} more cannot be read, either)" if len(refused) > 1 else ""
        raise RequestError(f"{refused[0]}{more}")
    if not found:
        known = [f"  {name}: {LOOKS.get(name, '')}".rstrip(": ") for name in workloads.adapters()]
        raise RequestError(
            "\n".join([f"{place} holds no problems of a format that is known here:", *known])
        )
    if len(found) > 1:
        lines = [
            f"  orchestrator adopt {shlex.quote(str(below))}  # {name}"
            for below, name in found.items()
        ]
        if len(lines) > MOST_SHOWN:
            lines[MOST_SHOWN:] = [f"  and {len(lines) - MOST_SHOWN} more"]
        lines += [f"  cannot be read: {why}" for why in refused[:MOST_SHOWN]]
        shown = "\n".join(lines)
        raise RequestError(f"{place} holds problems in {len(found)} places; adopt one:\n{shown}")
    ((below, name),) = found.items()
    return below.resolve(), name


def _candidates(place: Path) -> Iterator[Path]:
    """Folders below, nearest first, and the definitions of a data set."""
    if not place.is_dir():
        return
    definitions = place if "definitions" in place.resolve().parts else place / "definitions"
    yield from sorted(definitions.rglob("*.json"))
    yield from sorted(folders.below(place, DEEPEST), key=lambda folder: len(folder.parts))


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
