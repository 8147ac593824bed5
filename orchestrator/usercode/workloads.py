"""Finds the workload that a sweep file names: a registered one, a Workload in a module or file, a
file, or an adapter.

`workload: ./softmax.py` is a file as a workload; `workload: kernelbench:./problems` is what the
adapter of that name makes of a folder. Packages bring workloads, implementations and adapters by
entry points.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from orchestrator.errors import UnknownNameError
from orchestrator.usercode import registry, workload_file
from orchestrator.usercode.callables import FACTORY, LoadedEntry
from orchestrator.usercode.registry import Target
from orchestrator.workload import Workload

ADAPTERS = "orchestrator.adapters"  # the group of entry points
# Those of this package, also where it is not installed and so has no entry points
OWN_ADAPTERS = {
    "kernelbench": "orchestrator.adapters.kernelbench:ADAPTER",
    "flashinfer-bench": "orchestrator.adapters.flashinfer_bench:ADAPTER",
    "gpu-mode": "orchestrator.adapters.gpu_mode:ADAPTER",
}


class Adapter(Protocol):
    """Makes a workload, and implementations of it, of files in somebody else's format."""

    def workload(self, path: Path) -> Workload:
        """The workload in the file or folder; nothing in it is imported.

        Raises:
            UnknownNameError: it is none of this format, or has what this adapter does not know;
                naming it.
        """
        ...

    def build(self, path: Path, workload: Workload) -> Any:
        """The build function of the implementations of the workload in the file or folder."""
        ...

    def check(self, path: Path, workload: Workload) -> str:
        """Why the file or folder holds no implementation of the workload; empty where it does."""
        ...

    def files(self, path: Path) -> Sequence[Path]:
        """Every file that defines what is there: hashed, and sent to the nodes of a cluster."""
        ...

    def adopted(self, path: Path) -> dict[str, Any] | None:
        """A sweep over what is at `path`, as the content of its file; None: it is none of this
        format. Its key `left_out` lists sentences on what was left out.
        """
        ...


@lru_cache(maxsize=1)
def adapters() -> dict[str, str]:
    """The adapters by name: where each is."""
    found = {entry.name: entry.value for entry in importlib.metadata.entry_points(group=ADAPTERS)}
    return {**found, **OWN_ADAPTERS}


def adapter(name: str) -> Adapter:
    """The adapter of that name, imported.

    Raises:
        UnknownNameError: it cannot be imported.
    """
    module, _, attribute = adapters()[name].partition(":")
    try:
        found: Adapter = Target(attribute, module=module).load()
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        raise UnknownNameError(f"the adapter {name} cannot be imported: {why}") from error
    return found


def adapted(ref: str, base_dir: str | Path) -> tuple[Adapter, Path] | None:
    """The adapter and the path that `kernelbench:./problems` names; None: it names no adapter.

    Raises:
        UnknownNameError: there is nothing at the path.
    """
    name, colon, rest = ref.partition(":")
    if not colon or name not in adapters():
        return None
    path = (Path(base_dir) / rest).resolve()
    if not rest or not path.exists():
        raise UnknownNameError(f"{ref!r} names what does not exist: {path}")
    return adapter(name), path


def file_of(ref: str, base_dir: str | Path) -> Path | None:
    """The file that `./softmax.py` names; None: it names none alone.

    Raises:
        UnknownNameError: there is no such file.
    """
    if not ref.endswith(".py"):
        return None
    path = (Path(base_dir) / ref).resolve()
    if not path.is_file():
        raise UnknownNameError(f"the workload {ref!r} names a file that does not exist: {path}")
    return path


def find(ref: str, base_dir: str | Path) -> Workload:
    """The workload that `ref` names; a relative path starts from `base_dir`.

    Raises:
        UnknownNameError: there is none, or it is no workload.
    """
    if ref in registry.workloads():
        return registry.workload(ref, base_dir)
    if (made := adapted(ref, base_dir)) is not None:
        return made[0].workload(made[1])
    if (path := file_of(ref, base_dir)) is not None:
        return workload_file.load(path)
    return registry.workload(ref, base_dir)


def targets(ref: str, base_dir: str | Path) -> tuple[Target, ...]:
    """Where the code of the workload `ref` is, for its hash.

    Raises:
        UnknownNameError: as `find`.
    """
    known = registry.workloads()
    if ref not in known:
        if (made := adapted(ref, base_dir)) is not None:
            return tuple(Target("", file=file) for file in made[0].files(made[1]))
        if (path := file_of(ref, base_dir)) is not None:
            return (Target("reference", file=path),)
    return (registry.locate(known.get(ref, ref), base_dir, known, "workload"),)


def implementation_targets(use: str, base_dir: str | Path) -> tuple[Target, ...]:
    """Where the code of the implementation `use` is, for its hash.

    Raises:
        UnknownNameError: there is none.
    """
    if use not in registry.implementations() and (made := adapted(use, base_dir)) is not None:
        return tuple(Target("", file=file) for file in made[0].files(made[1]))
    return (registry.implementation_target(use, base_dir),)


def loaded(
    use: str,
    base_dir: str | Path,
    workload: Workload,
    call: Mapping[str, Any],
    compile_: bool | Mapping[str, Any] = False,
) -> LoadedEntry:
    """What an entry of the sweep file names, imported, and how it says that it is called.

    Raises:
        UnknownNameError: there is none, or it cannot be called.
    """
    known = registry.implementations()
    if use in known:  # what is registered builds
        build, form = registry.build_function(use, base_dir)
        return LoadedEntry(build, FACTORY, form, call, compile_)
    if (made := adapted(use, base_dir)) is not None:
        return LoadedEntry(made[0].build(made[1], workload), FACTORY, None, call, compile_)
    target = registry.implementation_target(use, base_dir)
    value = target.load()
    if not callable(value):
        raise UnknownNameError(
            f"{use} is a {type(value).__name__}, which cannot be called: "
            "name a function of the inputs, an nn.Module class, or a factory, "
            "whose one parameter is called config"
        )
    form = getattr(value, "form", None)
    return LoadedEntry(
        value, target.attribute, form if isinstance(form, str) else None, call, compile_
    )
