"""Looks at somebody's folder of problems, says what it found and writes a sweep over it: the answer
of `adopt`.
"""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from orchestrator.errors import RequestError
from orchestrator.usercode import workloads

FILE = "sweep.yaml"


def adopt(path: str | Path, output: str | Path | None = None) -> tuple[Path, str]:
    """Write a sweep file over the problems at `path`; the file, and what was found in words.

    Args:
        path: a KernelBench-style folder, a flashinfer-bench definition or data set, a GPU MODE
            task.
        output: the sweep file to write; None: sweep.yaml beside what was found.

    Raises:
        RequestError: nothing of a known format is there, the file is there already, or it cannot be
            written.
    """
    place = Path(path)
    if not place.exists():
        raise RequestError(f"there is no {place}")
    for name in workloads.adapters():
        for candidate in _candidates(place):
            found = workloads.adapter(name).adopted(candidate)
            if found is not None:
                return _write(name, candidate, found, output)
    known = ", ".join(workloads.adapters())
    raise RequestError(f"{place} holds no problems of a format that is known here: {known}")


def _candidates(place: Path) -> list[Path]:
    """The path itself, and the one definition of a data set."""
    definitions = sorted((place / "definitions").rglob("*.json")) if place.is_dir() else []
    return [place.resolve(), *(file.resolve() for file in definitions)]


def _write(
    name: str, place: Path, found: dict[str, Any], output: str | Path | None
) -> tuple[Path, str]:
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
    return file, f"{place.name} is of the format {name}; implementations: {labels}"


def _rebased(found: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The same with paths that hold wherever the sweep file lies."""

    def moved(ref: str) -> str:
        name, _, path = ref.partition(":")
        return f"{name}:{(folder / path).resolve()}"

    entries = [{**entry, "use": moved(entry["use"])} for entry in found["implementations"]]
    return {**found, "workload": moved(found["workload"]), "implementations": entries}
