"""Hashes of the source code that defines an implementation: a file and what it imports from beside it.

Imports are followed by reading, not by importing, so that a changed file is noticed without torch.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import sys
from functools import lru_cache
from pathlib import Path

from orchestrator.registry import Target


def source_hash(*targets: Target) -> str:
    """A hash over the files of `targets` and every file that these import from the same project."""
    files: set[Path] = set()
    for target in targets:
        start = target.file or module_file(str(target.module))
        if start is not None:
            files |= closure(start, _root(start, target.module))
    digest = hashlib.sha256()
    for file in sorted(files, key=lambda path: (path.name, str(path))):
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


@lru_cache(maxsize=1024)
def closure(start: Path, root: Path) -> frozenset[Path]:
    """`start` and every file under `root` that it imports, directly or not."""
    seen: set[Path] = set()
    queue = [start]
    while queue:
        file = queue.pop()
        if file not in seen:
            seen.add(file)
            queue.extend(_imports(file, root))
    return frozenset(seen)


def module_file(name: str) -> Path | None:
    """The file of a module, found without importing it (its parent packages are looked up on sys.path)."""
    head, *rest = name.split(".")
    for entry in sys.path:
        base = Path(entry or ".").joinpath(head, *rest)
        for candidate in (base.with_suffix(".py"), base / "__init__.py"):
            if candidate.is_file():
                return candidate.resolve()
    spec = importlib.util.find_spec(head) if not rest else None
    return Path(spec.origin) if spec and spec.origin and Path(spec.origin).is_file() else None


def _root(file: Path, module: str | None) -> Path:
    """The folder whose files count as the project's own."""
    depth = module.count(".") + (file.name == "__init__.py") if module else 0
    return file.parents[depth]


def _imports(file: Path, root: Path) -> list[Path]:
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return []  # the trial that imports it will say so
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [_resolve(alias.name.split("."), root) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = file.parents[node.level - 1] if node.level else root
            parts = node.module.split(".") if node.module else []
            found.append(_resolve(parts, base))
            found += [_resolve([*parts, alias.name], base) for alias in node.names]
    return [path for path in found if path is not None and "site-packages" not in path.parts]


def _resolve(parts: list[str], base: Path) -> Path | None:
    if not parts:
        return None
    stem = base.joinpath(*parts)
    candidates = (stem.with_name(stem.name + ".py"), stem / "__init__.py")
    return next((path.resolve() for path in candidates if path.is_file()), None)
