"""Finds workloads and implementations: registered names, `package.module:attribute`,
`path/to/file.py:attribute`.

A registry is a module with two mappings: WORKLOADS (name -> "module:attribute") and IMPLEMENTATIONS
(name -> Registered). Ours is `implementations`, in a wheel `orchestrator_implementations`; looking
a name up there imports neither torch nor any implementation. Other packages add theirs by an entry
point of the group GROUP that names the module: `[project.entry-points."orchestrator.registries"]`,
`mine = "my_package.kernels"`.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from orchestrator.errors import UnknownNameError, suggestion
from orchestrator.usercode.neighbours import import_file
from orchestrator.workload import Registered, Workload

# what setup.py calls it, so that a user's folder cannot hide it
INSTALLED = "orchestrator_implementations"
REGISTRY = INSTALLED if importlib.util.find_spec(INSTALLED) else "implementations"
GROUP = "orchestrator.registries"


@dataclass(frozen=True)
class Target:
    """Where an attribute lives: a file or a module, and its name there."""

    attribute: str
    file: Path | None = None
    module: str | None = None

    def load(self) -> Any:
        """The attribute itself; whatever its import raises comes through."""
        module = import_file(self.file) if self.file else importlib.import_module(str(self.module))
        try:
            return getattr(module, self.attribute)
        except AttributeError:
            names = [name for name in vars(module) if not name.startswith("_")]
            near = suggestion(self.attribute, names)
            raise UnknownNameError(
                f"{self.file or self.module} has no attribute {self.attribute!r}{near}"
            ) from None


def implementations() -> dict[str, Registered]:
    """The registered implementations by name; of two with one name ours counts, then the first."""
    found: dict[str, Registered] = {}
    for module in _registries():
        found = {**getattr(module, "IMPLEMENTATIONS", {}), **found}
    return found


def workloads() -> dict[str, str]:
    """The registered workloads: name -> "module:attribute"."""
    found: dict[str, str] = {}
    for module in _registries():
        found = {**getattr(module, "WORKLOADS", {}), **found}
    return found


def broken() -> tuple[str, ...]:
    """What other packages bring and cannot be imported, each in a sentence with the reason."""
    return _found()[1]


def _registries() -> tuple[ModuleType, ...]:
    """Our registry, then those of other packages by the names of their entry points."""
    return _found()[0]


@cache
def _found() -> tuple[tuple[ModuleType, ...], tuple[str, ...]]:
    """The registries, and what is wrong with those that are left out: a package that cannot be
    imported here hinders no sweep that does without it.
    """
    modules, wrong = [importlib.import_module(REGISTRY)], []
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        try:
            modules.append(entry.load())
        except Exception as error:  # noqa: BLE001 - somebody else's code
            package = entry.dist.name if entry.dist is not None else entry.value
            why = f"{type(error).__name__}: {error}"
            wrong.append(f"the registry {entry.name} of {package} cannot be imported: {why}")
    return tuple(modules), tuple(wrong)


def workload(ref: str, base_dir: str | Path) -> Workload:
    """The workload that `ref` names; a relative path starts from `base_dir`.

    Raises:
        UnknownNameError: no such name, file or attribute, or the attribute is no Workload.
    """
    known = workloads()
    found = locate(known.get(ref, ref), base_dir, known, "workload").load()
    if not isinstance(found, Workload):
        raise UnknownNameError(
            f"{ref} is a {type(found).__name__}, not a workload: "
            "make it an orchestrator.workload.Workload"
        )
    return found


def implementation_target(use: str, base_dir: str | Path) -> Target:
    """Where the build function that `use` names lives, without importing it.

    Raises:
        UnknownNameError: no such name or file.
    """
    known = implementations()
    return locate(known[use].target if use in known else use, base_dir, known, "implementation")


def build_function(use: str, base_dir: str | Path) -> tuple[Callable[[Any], Any], str | None]:
    """The build function that `use` names, imported, and the form it states (None: the workload's
    default).
    """
    known = implementations()
    build = implementation_target(use, base_dir).load()
    form = known[use].form if use in known else getattr(build, "form", None)
    if not callable(build):
        raise UnknownNameError(
            f"{use} is a {type(build).__name__}, not a function: "
            "it must be callable as build(config)"
        )
    return build, form


def locate(ref: str, base_dir: str | Path, known: Iterable[str], kind: str) -> Target:
    """Where `ref` points; only the existence of a file is checked, nothing is imported.

    Raises:
        UnknownNameError: `ref` is neither a known name nor of one of the two forms, or names a file
            that is not there.
    """
    source, colon, attribute = ref.rpartition(":")
    if not colon or not attribute.isidentifier() or not _is_source(source):
        hint = "package.module:attribute or path/to/file.py:attribute"
        if ref.endswith(".py"):
            hint = f"{ref}:build"
        reasons = "".join(f"; {text}" for text in broken())
        raise UnknownNameError(
            f"there is no {kind} {ref!r}{suggestion(ref, known)}: use a registered name, or {hint}"
            f"{reasons}"
        )
    if not source.endswith(".py"):
        return Target(attribute, module=source)
    try:
        path = (Path(base_dir) / source).resolve()
        found = path.is_file()
    except (OSError, RuntimeError, ValueError) as error:  # too long, a loop of links, a NUL byte
        raise UnknownNameError(f"the {kind} {ref!r} names no file: {error}") from None
    if not found:
        raise UnknownNameError(f"the {kind} {ref!r} names a file that does not exist: {path}")
    return Target(attribute, file=path)


def _is_source(source: str) -> bool:
    """Whether this may stand before the colon: a path of a Python file, or a module's name."""
    return source.endswith(".py") or all(part.isidentifier() for part in source.split("."))
