"""What a Python file says beside some of its functions. Read, never imported.

A file in function form holds a problem and implementations of it. Two versions of such a file pose
the same problem if they differ in nothing but the implementations and what these alone use.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Mapping
from pathlib import Path

DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def rest_of_file(file: Path, names: Collection[str]) -> str:
    """Everything at the top level of `file` but the functions and classes called one of `names`,
    and those that nothing else uses; comments and layout are not part of it.

    Raises:
        OSError: it cannot be read.
        SyntaxError: it does not parse.
    """
    tree = ast.parse(file.read_bytes())
    defined = {node.name: node for node in tree.body if isinstance(node, DEFINITIONS)}
    left_out = _reached(names, defined)
    others = [node for node in tree.body if not isinstance(node, DEFINITIONS)]
    others += [node for name, node in defined.items() if name not in left_out]
    used: set[str] = set()
    for node in others:
        used |= _reached(_names_in(node), defined)
    kept = []
    for node in tree.body:
        if isinstance(node, DEFINITIONS) and node.name in left_out and node.name not in used:
            continue
        kept.append(ast.dump(node))
    return "\n".join(kept)


def _reached(names: Collection[str], defined: Mapping[str, ast.stmt]) -> set[str]:
    """Those of `names` that are defined, and whatever definitions these use, and so on."""
    found: set[str] = set()
    queue = [name for name in names if name in defined]
    while queue:
        name = queue.pop()
        if name not in found:
            found.add(name)
            queue += [other for other in _names_in(defined[name]) if other in defined]
    return found


def _names_in(node: ast.AST) -> set[str]:
    """Every name that appears in it."""
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
