"""The source code that defines an implementation: a file and what it imports from beside it. Read, never imported.

So a file that does not parse is refused, and one that changed is noticed, without torch and without running anything.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import re
import sys
from functools import lru_cache
from pathlib import Path

from orchestrator.errors import UnknownNameError, suggestion
from orchestrator.usercode.registry import Target


def check(target: Target) -> None:
    """Refuse what reading alone shows to be wrong with the code that `target` names.

    Raises:
        UnknownNameError: there is no such module, the file does not parse, or nothing in it bears the name.
    """
    file = target.file or module_file(str(target.module))
    if file is None:
        if not may_be_elsewhere(str(target.module)):
            raise UnknownNameError(f"there is no module {target.module!r}: install it, or name a file path/to/file.py")
        return
    try:
        text = file.read_bytes()
        tree = ast.parse(text)
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = f" on line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        why = getattr(error, "msg", None) or getattr(error, "strerror", None) or error
        raise UnknownNameError(f"{file} does not parse as Python{line}: {why}") from None
    name = target.attribute
    if not re.search(rf"\b{name}\b", text.decode(errors="replace")) and not _imports_all(tree):
        raise UnknownNameError(f"{file} has no {name!r}{suggestion(name, _top_names(tree))}")


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


def closure(start: Path, root: Path) -> frozenset[Path]:
    """`start` and every file under `root` that it imports, directly or not."""
    seen: set[Path] = set()
    queue = [start]
    while queue:
        file = queue.pop()
        if file not in seen:
            seen.add(file)
            queue.extend(_imports(file, root, file.stat().st_mtime_ns))
    return frozenset(seen)


def module_file(name: str) -> Path | None:
    """The file of a module, found without importing it (its parent packages are looked up on sys.path)."""
    parts = name.split(".")
    for entry in sys.path:
        base = Path(entry or ".").joinpath(*parts)
        for candidate in (base.with_name(f"{base.name}.py"), base / "__init__.py"):
            if candidate.is_file():
                return candidate.resolve()
    return None


def may_be_elsewhere(module: str) -> bool:
    """Whether a module without a file of its own may exist: built in, compiled, in an archive, or made at run time."""
    head = module.partition(".")[0]
    try:
        return head in sys.modules or importlib.util.find_spec(head) is not None
    except (ImportError, ValueError):
        return False


def _imports_all(tree: ast.Module) -> bool:
    froms = (node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom))
    return any(alias.name == "*" for node in froms for alias in node.names)


def _top_names(tree: ast.Module) -> list[str]:
    defined = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return [node.name for node in tree.body if isinstance(node, defined) and not node.name.startswith("_")]


def _root(file: Path, module: str | None) -> Path:
    """The folder whose files count as the project's own."""
    depth = module.count(".") + (file.name == "__init__.py") if module else 0
    return file.parents[depth]


@lru_cache(maxsize=4096)
def _imports(file: Path, root: Path, _changed_ns: int) -> tuple[Path, ...]:
    """The files that `file` imports from the same project; read again when it has changed."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ()  # the trial that imports it will say so
    found: list[Path | None] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [_resolve(alias.name.split("."), root) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level <= len(file.parents):
            base = file.parents[node.level - 1] if node.level else root
            parts = node.module.split(".") if node.module else []
            found.append(_resolve(parts, base))
            found += [_resolve([*parts, alias.name], base) for alias in node.names]
    return tuple(path for path in found if path is not None and "site-packages" not in path.parts)


def _resolve(parts: list[str], base: Path) -> Path | None:
    if not parts:
        return None
    stem = base.joinpath(*parts)
    candidates = (stem.with_name(stem.name + ".py"), stem / "__init__.py")
    return next((path.resolve() for path in candidates if path.is_file()), None)
