"""Imports a user's file, and gives the modules beside it names of their own.

Python keeps one module per name and process, so two files from two folders that both say `import
helper` would share the first one's. Here each folder is a package with a private name: a file is
compiled so that `import helper` means `from <that package> import helper` wherever the folder holds
a helper. Only import statements are changed, so line numbers, `__file__`, tracebacks and
`inspect.getsource` are those of the file as it was written.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import re
import sys
from collections.abc import Sequence
from importlib.abc import Loader
from importlib.machinery import (
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    ModuleSpec,
    PathFinder,
    SourceFileLoader,
)
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

PREFIX = "_sweep_"
# a workload must be made of the class that the harness knows
OURS = frozenset({"orchestrator", "__future__"})
BODIES = ("body", "orelse", "finalbody", "handlers", "cases")


class Folder:
    """The modules beside a user's file, as one package with a name of its own.

    Attributes:
        path: the folder, resolved.
        package: the package's name in `sys.modules`.
        outside: top-level names that files of the folder import from elsewhere.
    """

    def __init__(self, path: Path) -> None:
        readable = re.sub(r"\W", "_", path.name)
        self.path = path
        self.package = f"{PREFIX}{readable}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
        self.outside: set[str] = set()
        self.operators: frozenset[str] = frozenset()

    def owns(self, name: str, importer: str = "") -> bool:
        """Whether top-level `name` means a module of this folder to its files, as it does for a
        script that lies here.

        A file called like a package that it imports (`importer`) means the package.
        """
        if name in OURS or name in sys.builtin_module_names:
            return False
        found = self.spec(name, [str(self.path)])
        if found is None:
            return False
        elsewhere = _plain_spec(name)
        if elsewhere is None:
            return True
        # a folder without __init__.py yields to any real module
        if found.loader is None or name == importer:
            return False
        return not _same_file(found, elsewhere)

    def spec(self, fullname: str, path: Sequence[str]) -> ModuleSpec | None:
        """The spec of a module in one of the folders of `path`, loaded by this package's rules."""
        hooks: list[Any] = [
            (ExtensionFileLoader, EXTENSION_SUFFIXES),
            (self._loader, SOURCE_SUFFIXES),
        ]
        for entry in path:
            found = FileFinder(entry, *hooks).find_spec(fullname)
            if found is not None:
                return found
        return None

    def load(self, file: Path) -> ModuleType:
        """The module of `file` in this folder, imported once."""
        name = f"{self.package}.{file.stem.replace('.', '_')}"
        if name in sys.modules:
            return sys.modules[name]
        spec = importlib.util.spec_from_file_location(
            name, file, loader=self._loader(name, str(file))
        )
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
        return module

    def _loader(self, fullname: str, path: str) -> Loader:
        return _FileLoader(self, fullname, path)


class _FileLoader(SourceFileLoader):
    """Compiles a file of a folder. No bytecode is kept: an ordinary import of the same file must
    not find it.
    """

    def __init__(self, folder: Folder, fullname: str, path: str) -> None:
        super().__init__(fullname, path)
        self._folder = folder

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        tree = ast.parse(self.get_data(path), path)
        importer = Path(path).stem if Path(path).parent == self._folder.path else ""
        _redirect(tree, self._folder, importer)
        code: CodeType = compile(tree, path, "exec", dont_inherit=True)
        return code


def _redirect(tree: ast.Module, folder: Folder, importer: str) -> None:
    """Point every import of a neighbour to the folder's package. In place."""
    waiting: list[list[ast.stmt]] = [tree.body]
    while waiting:
        body = waiting.pop()
        changed: list[ast.stmt] = []
        for statement in body:
            if isinstance(statement, ast.Import):
                changed += _imports(statement, folder, importer)
            else:
                if isinstance(statement, ast.ImportFrom):
                    _redirect_from(statement, folder, importer)
                changed.append(statement)
            for name in BODIES:
                inner = getattr(statement, name, None)
                if isinstance(inner, list):
                    waiting.append(inner)
        body[:] = changed


def _redirect_from(statement: ast.ImportFrom, folder: Folder, importer: str) -> None:
    if statement.level or not statement.module:
        return
    head = statement.module.partition(".")[0]
    if folder.owns(head, importer):
        statement.module = f"{folder.package}.{statement.module}"
    else:
        folder.outside.add(head)


def _imports(statement: ast.Import, folder: Folder, importer: str) -> list[ast.stmt]:
    """The statements that bind what `import a, b.c, d as e` binds."""
    found: list[ast.stmt] = []
    for alias in statement.names:
        head, *rest = alias.name.split(".")
        if not folder.owns(head, importer):
            folder.outside.add(head)
            made: list[ast.stmt] = [ast.Import([alias])]
        elif alias.asname or not rest:
            made = [_import_from(folder, alias.name, alias.asname or head)]
        else:  # `import a.b` binds a, and loads a.b first
            made = [_import_from(folder, alias.name, head), _import_from(folder, head, head)]
        found += [ast.copy_location(one, statement) for one in made]
    for one in found:
        ast.fix_missing_locations(one)
    return found


def _import_from(folder: Folder, name: str, bound: str) -> ast.ImportFrom:
    parent, _, last = f"{folder.package}.{name}".rpartition(".")
    return ast.ImportFrom(parent, [ast.alias(last, None if bound == last else bound)], 0)


class _PrivateFinder:
    """Finds the modules of the folders' packages, first of all finders: no other one knows these
    names.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, _target: Any = None
    ) -> ModuleSpec | None:
        folder = _FOLDERS.get(fullname.partition(".")[0])
        if folder is not None and path is not None:
            return folder.spec(fullname, list(path))
        head, _, rest = fullname.partition(".")
        known = _name_of(sys.modules.get(head))
        if rest and known != head and known.startswith(PREFIX):  # below a name that _ByName gave
            return ModuleSpec(fullname, _Renamed(f"{known}.{rest}"))
        return None


class _ByName:
    """Finds, last of all finders, a neighbour that code asks for by a plain name:
    `importlib.import_module("helper")`.

    Raises:
        ImportError: several folders have one, so that a plain name cannot tell which is meant.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, _target: Any = None
    ) -> ModuleSpec | None:
        if path is not None or fullname in OURS:
            return None
        having = [
            folder
            for folder in _FOLDERS.values()
            if folder.spec(fullname, [str(folder.path)]) is not None
        ]
        if len(having) > 1:
            places = " and ".join(str(folder.path) for folder in having)
            raise ImportError(
                f"{fullname!r} is a module of {places}: write `import {fullname}`, "
                "which means the file's own neighbour"
            )
        if not having:
            return None
        return ModuleSpec(fullname, _Renamed(f"{having[0].package}.{fullname}"))


class _Renamed(Loader):
    """Makes a plain name another name of a module that has a private one."""

    def __init__(self, private: str) -> None:
        self._private = private

    def create_module(self, _spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        sys.modules[module.__name__] = importlib.import_module(self._private)


_FOLDERS: dict[str, Folder] = {}


def import_file(path: Path) -> ModuleType:
    """The module of a user's file, imported once per process; what its import raises comes through.

    Raises:
        ImportError: the file means modules or operators that another folder's file has put in their
            place.
    """
    folder = _opened(path.parent)
    loaded, places, operators = set(sys.modules), set(sys.path), _operators()
    module = folder.load(path)
    _refuse_foreign(folder, [entry for entry in sys.path if entry not in places], loaded)
    _refuse_replaced(folder, operators)
    return module


def loaded_from(folder: Path) -> dict[str, Path]:
    """Name -> file of every module that was imported from below `folder`."""
    found = {}
    for name, module in sys.modules.copy().items():
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and Path(file).is_relative_to(folder):
            found[name] = Path(file)
    return found


def _opened(path: Path) -> Folder:
    """The package of a folder, made when its first file is imported."""
    folder = Folder(path)
    if folder.package in _FOLDERS:
        return _FOLDERS[folder.package]
    if not _FOLDERS:
        sys.meta_path.insert(0, _PrivateFinder())
        sys.meta_path.append(_ByName())
    _forget_plain_names(folder)
    _FOLDERS[folder.package] = folder
    spec = ModuleSpec(folder.package, None, is_package=True)
    spec.submodule_search_locations = [str(path)]
    sys.modules[folder.package] = importlib.util.module_from_spec(spec)
    return folder


def _forget_plain_names(folder: Folder) -> None:
    """Let go of plain names that _ByName gave to another folder's modules and that are ambiguous
    from now on.
    """
    for name, module in sys.modules.copy().items():
        private = _name_of(module).startswith(PREFIX) and not name.startswith(PREFIX)
        if private and folder.spec(name.partition(".")[0], [str(folder.path)]) is not None:
            del sys.modules[name]


def _name_of(module: object) -> str:
    """A module's own name; "" of another object that a package put into `sys.modules`."""
    name = getattr(module, "__name__", "")
    return name if isinstance(name, str) else ""


def _plain_spec(name: str) -> ModuleSpec | None:
    """What an ordinary import of a top-level name finds, without importing it."""
    loaded = sys.modules.get(name)
    if _name_of(loaded).startswith(PREFIX):
        return None
    try:
        return PathFinder.find_spec(name) or importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None


def _same_file(one: ModuleSpec, other: ModuleSpec) -> bool:
    if not one.has_location or not other.has_location or not one.origin or not other.origin:
        return False
    return Path(one.origin).resolve() == Path(other.origin).resolve()


def _refuse_foreign(folder: Folder, added: Sequence[str], loaded: set[str]) -> None:
    """Refuse a module of another folder where this one's file has put a place of its own on
    `sys.path` for it.
    """
    for name in sorted(folder.outside & loaded - OURS):
        meant = PathFinder.find_spec(name, list(added))
        had = getattr(sys.modules.get(name), "__spec__", None)
        if (
            meant is not None
            and meant.loader is not None
            and had is not None
            and not _same_file(meant, had)
        ):
            raise ImportError(
                f"{folder.path} means {name} of {meant.origin}, but {had.origin} was imported "
                "under that name before: "
                "put it beside the file instead of changing sys.path, or measure each in a sweep "
                "of its own"
            )


def _operators() -> dict[str, int]:
    """Qualified name -> identity of every custom operator that torch knows; none before it is
    imported.
    """
    known = getattr(sys.modules.get("torch._library.custom_ops"), "OPDEFS", {})
    return {name: id(operator) for name, operator in list(known.items())}


def _refuse_replaced(folder: Folder, before: dict[str, int]) -> None:
    """Refuse an operator of torch by a name that another folder's file gave to its own: torch keeps
    the last one.
    """
    made = frozenset(name for name, known in _operators().items() if before.get(name) != known)
    folder.operators |= made
    for other in _FOLDERS.values():
        taken = sorted(made & other.operators) if other is not folder else []
        if taken:
            raise ImportError(
                f"{folder.path} and {other.path} both define the operator {taken[0]}, of which "
                "torch keeps one: give them two names, or measure each in a sweep of its own"
            )
