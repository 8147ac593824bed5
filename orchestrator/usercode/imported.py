"""What a trial's process really imported of the user's code and of installed packages, however it
came to.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection
from functools import cache
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

from orchestrator.usercode.data_files import content_hash_of
from orchestrator.usercode.packages import STATED, site_of
from orchestrator.usercode.registry import REGISTRY
from orchestrator.util.files import PACKAGE
from orchestrator.util.frozen_model import FrozenModel

HARNESS = ("orchestrator", REGISTRY)


class ImportedCode(FrozenModel):
    """Code that a trial's process imported.

    Attributes:
        base_dir: the folder that relative paths start from.
        files: path -> hash of its content.
        packages: name of an installed package -> version.
    """

    base_dir: str
    files: dict[str, str]
    packages: dict[str, str]


def imported_since(before: Collection[str], base_dir: str) -> ImportedCode:
    """The code that was imported after the modules `before`.

    Reading a file shows what it says that it imports; this adds what was found out by running it:
    `importlib`, changed paths, what packages import in their turn. The standard library, the
    harness and what the environment states are left out.
    """
    files: dict[str, str] = {}
    packages: dict[str, str] = {}
    for name, module in sys.modules.copy().items():
        head = name.partition(".")[0]
        if name in before or head in sys.stdlib_module_names or head in (*HARNESS, *STATED):
            continue
        file = _file_of(module)
        if file is None or file.is_relative_to(PACKAGE):
            continue
        if _is_installed(file, name):
            if head in before:
                continue
            packages.setdefault(head, _imported_version(head))
        else:
            files[os.path.relpath(file, base_dir)] = content_hash_of(file)
    return ImportedCode(base_dir=base_dir, files=files, packages=packages)


def changed_since(imported: dict[str, Any], base_dir: str) -> list[str]:
    """What of an ImportedCode, as JSON values, is another today, in words; nothing where it was
    said of another machine's folders.
    """
    if imported.get("base_dir") != base_dir:
        return []
    found = []
    for name, content in imported.get("files", {}).items():
        file = Path(base_dir) / name
        if not file.is_file():
            found.append(f"{name} is gone")
        elif content_hash_of(file) != content:
            found.append(f"{name} changed")
    for name, version in imported.get("packages", {}).items():
        now = _version(name)
        if version and now != version:
            found.append(f"{name} {version}, now {now or 'gone'}")
    return found


def _file_of(module: ModuleType | None) -> Path | None:
    file = getattr(module, "__file__", None)
    if not isinstance(file, str) or not Path(file).is_file():
        return None
    return Path(file)


def _is_installed(file: Path, name: str) -> bool:
    """Whether the top folder of this module's package is one of installed packages."""
    depth = name.count(".") + (file.stem == "__init__")
    return depth < len(file.parents) and site_of(file.parents[depth]) is not None


@cache
def _imported_version(head: str) -> str:
    """Of a package that this process imported: what is installed later is not what ran."""
    return _version(head)


def _version(head: str) -> str:
    """The version of a top-level package as far as it is cheap to tell; "": it is not."""
    try:
        return metadata.version(head)
    except metadata.PackageNotFoundError:
        return str(getattr(sys.modules.get(head), "__version__", ""))
