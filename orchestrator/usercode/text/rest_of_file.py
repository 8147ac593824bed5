"""What a Python file says beside some of its functions. Read, never imported.

A file in function form holds a problem and implementations of it. Two versions of such a file pose
the same problem if they differ in nothing but the implementations and what these alone use.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
IMPORTS = (ast.Import, ast.ImportFrom)


@dataclass(frozen=True)
class Rest:
    """The rest of a file.

    Attributes:
        statements: at the top level, as text; comments and layout are no part of it.
        modules: that it imports, the first part of each name.
    """

    statements: tuple[str, ...]
    modules: frozenset[str]


def rest_of_file(file: Path, names: Collection[str]) -> Rest:
    """Everything at the top level of `file` but the functions and classes called one of `names`,
    and the functions, classes and imports that nothing else uses.

    Raises:
        OSError: it cannot be read.
        SyntaxError: it does not parse.
    """
    tree = ast.parse(file.read_bytes())
    uses: dict[str, set[str]] = {}
    for node in tree.body:
        if isinstance(node, DEFINITIONS):
            uses.setdefault(node.name, set()).update(_names_in(node))
        elif isinstance(node, IMPORTS):
            uses |= {bound: set() for bound, _, _ in _bound_by(node)}
    left_out = _reached(names, uses)
    used: set[str] = set()
    for node in tree.body:
        is_left_out = isinstance(node, DEFINITIONS) and node.name in left_out
        if not isinstance(node, IMPORTS) and not is_left_out:
            used |= _reached(_names_in(node), uses)
    left_out -= used
    statements, modules = [], set()
    for node in tree.body:
        if isinstance(node, IMPORTS):
            for bound, module, text in _bound_by(node):
                if bound not in left_out:
                    statements.append(text)
                    modules.add(module)
        elif not (isinstance(node, DEFINITIONS) and node.name in left_out):
            statements.append(ast.dump(node))
    return Rest(tuple(statements), frozenset(modules))


def _bound_by(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, str, str]]:
    """The names that an import gives the file: name, module (first part), and as text."""
    for alias in node.names:
        if isinstance(node, ast.Import):
            head = alias.name.partition(".")[0]
            yield alias.asname or head, head, f"import {alias.name} as {alias.asname}"
        else:
            head = (node.module or alias.name).partition(".")[0]
            text = f"from {'.' * node.level}{node.module} import {alias.name} as {alias.asname}"
            yield alias.asname or alias.name, head, text


def _reached(names: Collection[str], uses: Mapping[str, Collection[str]]) -> set[str]:
    """Those of `names` that the file defines or imports, whatever these use of it, and so on."""
    found: set[str] = set()
    queue = [name for name in names if name in uses]
    while queue:
        name = queue.pop()
        if name not in found:
            found.add(name)
            queue += [other for other in uses[name] if other in uses]
    return found


def _names_in(node: ast.AST) -> set[str]:
    """Every name that appears in it."""
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
