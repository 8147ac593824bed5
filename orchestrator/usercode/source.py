"""The source code that defines an implementation: what its file imports and names. Read, never
imported.

So a file that does not parse is refused, and one that changed is noticed, without torch and without
running anything.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

import orchestrator
from orchestrator.errors import UnknownNameError, suggestion
from orchestrator.usercode.data_files import content_hash_of, included_files, named_files
from orchestrator.usercode.packages import STATED, build_of, site_of
from orchestrator.usercode.registry import REGISTRY, Target

PROJECT = Path(orchestrator.__file__).parents[1]
HARNESS = ("orchestrator", REGISTRY)  # their __init__ files define no implementation


@dataclass(frozen=True)
class Source:
    """What defines an implementation, as far as reading its files showed.

    Attributes:
        hash: 16 hexadecimal digits over the files' names and contents, and the packages; not over
            where they lie.
        files: file -> hash of its content.
        roots: of files that are imported by name from a folder of `sys.path`, that folder.
        packages: installed distributions that the files import, with their versions; those that the
            environment states already are left out.
    """

    hash: str
    files: Mapping[Path, str]
    roots: Mapping[Path, Path]
    packages: Mapping[str, str]

    def described(self, base_dir: str | Path) -> dict[str, dict[str, str]]:
        """JSON values that tell two sources apart: {"files": {path from base_dir: hash},
        "packages": {...}}.
        """
        files = {}
        for file, content in sorted(self.files.items()):
            files[os.path.relpath(file, base_dir)] = content
        return {"files": files, "packages": dict(self.packages)}


def check(target: Target) -> None:
    """Refuse what reading alone shows to be wrong with the code that `target` names.

    Raises:
        UnknownNameError: there is no such module, the file does not parse, or nothing in it bears
            the name.
    """
    file = target.file or module_file(str(target.module))
    if file is None:
        if not may_be_elsewhere(str(target.module)):
            raise UnknownNameError(
                f"there is no module {target.module!r}: install it, or name a file path/to/file.py"
            )
        return
    try:
        text = file.read_bytes()
        tree = ast.parse(text)
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = ""
        if isinstance(error, SyntaxError) and error.lineno:
            line = f" on line {error.lineno}"
        why = getattr(error, "msg", None) or getattr(error, "strerror", None) or error
        raise UnknownNameError(f"{file} does not parse as Python{line}: {why}") from None
    name = target.attribute
    if not re.search(rf"\b{name}\b", text.decode(errors="replace")) and not _imports_all(tree):
        raise UnknownNameError(f"{file} has no {name!r}{suggestion(name, _top_names(tree))}")


def source_of(*targets: Target, files: Iterable[Path] = ()) -> Source:
    """The files of `targets` and everything that these import or name, with `files` besides.

    Followed are imports of files beside a user's file, of the project, and of packages that are on
    `sys.path` without being installed (or installed to be edited); of an installed package the
    version is taken.
    """
    walk = _Walk()
    for target in targets:
        start = target.file or module_file(str(target.module))
        if start is not None:
            walk.start(start, target.module)
    for file in files:
        walk.files.setdefault(file, None)
    digest = hashlib.sha256()
    contents = {}
    for file in sorted(walk.files, key=lambda path: (path.name, str(path))):
        contents[file] = content_hash_of(file)
        content = file.read_bytes() if file.suffix == ".py" else contents[file].encode()
        digest.update(file.name.encode() + b"\0" + content + b"\0")
    packages = dict(sorted(walk.packages.items()))
    for name, version in packages.items():
        digest.update(f"{name}=={version}\0".encode())
    roots = {file: root for file, root in walk.files.items() if root is not None}
    return Source(digest.hexdigest()[:16], contents, roots, packages)


def source_hash(*targets: Target, files: Iterable[Path] = ()) -> str:
    """The hash of what defines `targets`; see `source_of`."""
    return source_of(*targets, files=files).hash


def imported_from(file: Path, folder: Path) -> str | None:
    """The first module that `file` imports by name and that lies in `folder`; None: there is none.

    A file's own neighbours are not imported by name: each file has its own.
    """
    if file.suffix != ".py" or file.parent == folder:
        return None
    for parts, level in _facts(file, file.stat().st_mtime_ns).imports:
        neighbour = _resolve(parts[:1], file.parent) is not None
        if level == 0 and not neighbour and _resolve(parts[:1], folder) is not None:
            return parts[0]
    return None


def module_file(name: str) -> Path | None:
    """The file of a module, found without importing it (its parent packages are looked up on
    sys.path).
    """
    parts = name.split(".")
    for entry in sys.path:
        found = _resolve(parts, Path(entry or "."))
        if found is not None:
            return found
    return None


class _Walk:
    """Follows imports from file to file."""

    def __init__(self) -> None:
        self.files: dict[Path, Path | None] = {}
        self.packages: dict[str, str] = {}

    def start(self, file: Path, module: str | None) -> None:
        """Follow a target: a user's file, whose folder is where its imports begin, or a module by
        name.
        """
        if module is None:
            self._follow(file, file.parent, by_name=False)
            return
        root = file.parents[module.count(".") + (file.name == "__init__.py")]
        head = module.partition(".")[0]
        site = site_of(root)
        is_installed = head in STATED
        if not is_installed and head not in HARNESS and site is not None:
            is_installed = self._is_installed(head, site)
        if is_installed:
            self.files[file] = None  # of what is installed the one file that is named
            return
        for init in _inits(module.split("."), root):
            self._follow(init, root, by_name=True)
        self._follow(file, root, by_name=True)

    def _follow(self, start: Path, root: Path, *, by_name: bool) -> None:
        queue = [start]
        while queue:
            file = queue.pop()
            if file in self.files:
                continue
            self.files[file] = root if by_name else None
            facts = _facts(file, file.stat().st_mtime_ns)
            queue += self._imported(file, root, facts)
            for data in named_files(file, facts.texts):
                self.files.update(dict.fromkeys(included_files(data)))

    def _imported(self, file: Path, root: Path, facts: _Facts) -> Iterator[Path]:
        """The files that `file` imports from below `root`; what it imports from elsewhere is
        followed at once.
        """
        for parts, level in facts.imports:
            if level > len(file.parents):
                continue
            base = file.parents[level - 1] if level else root
            found = _resolve(parts, base)
            if found is not None and _is_followed(parts[0], base):
                yield from _inits(parts, base)
                yield found
            elif level == 0 and _resolve(parts[:1], root) is None:
                self._elsewhere(parts)
            # a file that is called like the package that it wraps
            if level == 0 and parts[0] == file.stem:
                self._elsewhere(parts)

    def _elsewhere(self, parts: list[str]) -> None:
        """Note an installed package, and follow one that is merely on `sys.path`."""
        head = parts[0]
        if head in sys.stdlib_module_names or head in STATED or head == "orchestrator":
            return
        place = _place_of(head)
        if place is None:
            return
        site = site_of(place)
        if site is not None and head not in HARNESS and self._is_installed(head, site):
            return
        file = _resolve(parts, place)
        if file is not None and _is_followed(head, place):
            for init in _inits(parts, place):
                self._follow(init, place, by_name=True)
            self._follow(file, place, by_name=True)

    def _is_installed(self, head: str, site: Path) -> bool:
        """Whether a distribution in `site` has this package; then its version is noted."""
        build = build_of(head, site)
        if build is not None:
            self.packages[build.name] = str(build)
        return build is not None


@dataclass(frozen=True)
class _Facts:
    """What a file imports, as (dotted parts, number of leading dots), and the short texts that
    stand in it.
    """

    imports: tuple[tuple[list[str], int], ...] = ()
    texts: frozenset[str] = frozenset()


@lru_cache(maxsize=4096)
def _facts(file: Path, _changed_ns: int) -> _Facts:
    """What reading a Python file shows; read again when it has changed."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return _Facts()  # the trial that imports it will say so
    imports: list[tuple[list[str], int]] = []
    texts = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports += [(alias.name.split("."), 0) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parts = node.module.split(".") if node.module else []
            if parts:
                imports.append((parts, node.level))
            imports += [([*parts, alias.name], node.level) for alias in node.names]
        elif (
            isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) < 200
        ):
            texts.add(node.value)
    return _Facts(tuple(imports), frozenset(texts))


def _is_followed(head: str, base: Path) -> bool:
    """Whether imports of `head` below `base` lead on: in a folder of installed packages, those of
    the project alone.
    """
    return head in HARNESS or site_of(base) is None


def _resolve(parts: list[str], base: Path) -> Path | None:
    if not parts:
        return None
    stem = base.joinpath(*parts)
    for candidate in (stem.with_name(stem.name + ".py"), stem / "__init__.py"):
        if candidate.is_file():
            return candidate.resolve()
    return None


def _inits(parts: list[str], base: Path) -> Iterator[Path]:
    """The `__init__.py` of each package on the way to a module; none of the project's own."""
    for count in range(1, len(parts)):
        init = base.joinpath(*parts[:count], "__init__.py")
        if init.is_file() and not any(init.is_relative_to(PROJECT / name) for name in HARNESS):
            yield init.resolve()


def _place_of(head: str) -> Path | None:
    """The folder that an ordinary import finds a top-level module in; None: nowhere, or not in a
    folder.
    """
    try:
        spec: ModuleSpec | None = PathFinder.find_spec(head) or importlib.util.find_spec(head)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations))).resolve().parent
    if not spec.has_location or not spec.origin:
        return None
    return Path(spec.origin).resolve().parent


def may_be_elsewhere(module: str) -> bool:
    """Whether a module without a file of its own may exist: built in, compiled, in an archive, or
    made at run time.
    """
    head = module.partition(".")[0]
    try:
        return head in sys.modules or importlib.util.find_spec(head) is not None
    except (ImportError, ValueError):
        return False


def _imports_all(tree: ast.Module) -> bool:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
            return True
    return False


def _top_names(tree: ast.Module) -> list[str]:
    defined = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    names = [node.name for node in tree.body if isinstance(node, defined)]
    return [name for name in names if not name.startswith("_")]
