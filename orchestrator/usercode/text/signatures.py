"""What a file says of its functions, read from its text: nothing is imported, so that neither torch
is needed nor run.

A parameter's type is one of int, float, bool, str, torch.dtype, a Literal, a list of these, or None
beside one of them; `Annotated` gives bounds. What cannot be told from the text alone raises
`NotInTextError`, and is asked of Python.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

SCALARS = ("int", "float", "bool", "str")
BOUNDS = ("gt", "ge", "lt", "le", "multiple_of", "min_length", "max_length", "pattern")
# Names of annotated_types and of pydantic that stand for one bound, or for several
_SHORT = {
    "Gt": "gt",
    "Ge": "ge",
    "Lt": "lt",
    "Le": "le",
    "MultipleOf": "multiple_of",
    "MinLen": "min_length",
}
_READY = {
    "PositiveInt": ("int", {"gt": 0}),
    "NonNegativeInt": ("int", {"ge": 0}),
    "PositiveFloat": ("float", {"gt": 0}),
    "NonNegativeFloat": ("float", {"ge": 0}),
}


class NotInTextError(Exception):
    """The text alone does not tell."""


@dataclass(frozen=True)
class Kind:
    """A type that a parameter may have, in JSON values.

    Attributes:
        name: int, float, bool, str, dtype, null, literal, list or union.
        of: the types of a list's items or of a union.
        values: of a literal.
        bounds: by Pydantic's names: gt, ge, lt, le, multiple_of, min_length, max_length, pattern.
    """

    name: str
    of: tuple[Kind, ...] = ()
    values: tuple[Any, ...] = ()
    bounds: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As JSON values, read back by `from_json`."""
        return {
            "name": self.name,
            "of": [kind.to_json() for kind in self.of],
            "values": list(self.values),
            "bounds": dict(self.bounds),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Kind:
        """The kind that `to_json` gave."""
        of = tuple(cls.from_json(item) for item in data["of"])
        return cls(data["name"], of, tuple(data["values"]), data["bounds"])


@dataclass(frozen=True)
class Parameter:
    """A parameter of a function.

    Attributes:
        kind: its type; None: neither a type nor a default says.
        required: whether it has no default.
        default: in JSON values: a dtype by its name.
    """

    name: str
    kind: Kind | None = None
    required: bool = True
    default: Any = None


def functions(tree: ast.Module) -> dict[str, ast.FunctionDef | ast.AsyncFunctionDef]:
    """The functions that stand at the top of a file."""
    found = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name: node for node in tree.body if isinstance(node, found)}


def classes(tree: ast.Module) -> dict[str, ast.ClassDef]:
    """The classes that stand at the top of a file."""
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}


def values(tree: ast.Module) -> dict[str, ast.expr]:
    """What names at the top of a file are assigned, the last one of each; types among them."""
    found: dict[str, ast.expr] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    found[target.id] = node.value
        elif (
            isinstance(node, ast.AnnAssign)
            and node.value is not None
            and isinstance(node.target, ast.Name)
        ):
            found[node.target.id] = node.value
    return found


def names(tree: ast.Module) -> set[str]:
    """Every name that the top of a file binds: by definition, assignment or import."""
    bound = {*functions(tree), *classes(tree), *values(tree)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            bound.update((alias.asname or alias.name).partition(".")[0] for alias in node.names)
    return bound


def parameter_names(function: ast.FunctionDef | ast.AsyncFunctionDef) -> tuple[str, ...]:
    """The positional parameters of a function, in order; none of those after a star."""
    return tuple(argument.arg for argument in (*function.args.posonlyargs, *function.args.args))


class Reader:
    """Reads signatures of the functions of one file.

    Args:
        tree: the parsed file.
    """

    def __init__(self, tree: ast.Module) -> None:
        self._values = values(tree)
        self._modules: dict[str, str] = {}
        self._members: dict[str, str] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    first = alias.name.partition(".")[0]
                    self._modules[alias.asname or first] = alias.name if alias.asname else first
            elif isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    self._members[alias.asname or alias.name] = f"{node.module}.{alias.name}"

    def parameters(self, function: ast.FunctionDef | ast.AsyncFunctionDef) -> tuple[Parameter, ...]:
        """The parameters of a function with their types and defaults.

        Raises:
            NotInTextError: a decorator may have changed them, there are *args or **kwargs, or a
                type or a default is made of what only Python can work out.
        """
        stated = function.args
        if function.decorator_list or stated.vararg or stated.kwarg:
            raise NotInTextError
        positional = (*stated.posonlyargs, *stated.args)
        defaults: list[ast.expr | None] = [None] * (len(positional) - len(stated.defaults))
        pairs = [
            *zip(positional, [*defaults, *stated.defaults], strict=True),
            *zip(stated.kwonlyargs, stated.kw_defaults, strict=True),
        ]
        return tuple(self._parameter(argument, default) for argument, default in pairs)

    def _parameter(self, argument: ast.arg, default: ast.expr | None) -> Parameter:
        kind = None if argument.annotation is None else self.kind(argument.annotation)
        if default is None:
            return Parameter(argument.arg, kind)
        value = self.value(default)
        if kind is None:
            kind = Kind("dtype") if self._is_dtype(default) else kind_of_value(value)
        return Parameter(argument.arg, kind, required=False, default=value)

    def value(self, node: ast.expr) -> Any:
        """The value of an expression: a literal, a dtype by its name, or a constant of the file."""
        if self._is_dtype(node):
            assert isinstance(node, ast.Attribute | ast.Name)
            if isinstance(node, ast.Attribute):
                return node.attr
            return self._members[node.id].rpartition(".")[2]
        if isinstance(node, ast.Name) and node.id in self._values:
            return self.value(self._values[node.id])
        if isinstance(node, ast.List | ast.Tuple):
            return [self.value(item) for item in node.elts]
        if isinstance(node, ast.Dict):
            keys = [None if key is None else self.value(key) for key in node.keys]
            return dict(zip(keys, map(self.value, node.values), strict=True))
        try:
            return ast.literal_eval(node)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            raise NotInTextError from None

    def kind(self, node: ast.expr) -> Kind:
        """The type that an annotation states."""
        if isinstance(node, ast.Constant):
            return self._of_constant(node)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
            return union([self.kind(node.left), self.kind(node.right)])
        if isinstance(node, ast.Subscript):
            return self._of_subscript(node)
        name = self._dotted(node)
        if name in SCALARS:
            return Kind(name)
        if name == "torch.dtype":
            return Kind("dtype")
        last = name.rpartition(".")[2]
        if last in _READY:
            base, bounds = _READY[last]
            return Kind(base, bounds=bounds)
        if name in self._values:
            return self.kind(self._values[name])
        raise NotInTextError

    def _of_constant(self, node: ast.Constant) -> Kind:
        if node.value is None:
            return Kind("null")
        if not isinstance(node.value, str):
            raise NotInTextError
        try:
            return self.kind(ast.parse(node.value, mode="eval").body)
        except SyntaxError:
            raise NotInTextError from None

    def _of_subscript(self, node: ast.Subscript) -> Kind:
        head = self._dotted(node.value).rpartition(".")[2]
        inside = list(node.slice.elts) if isinstance(node.slice, ast.Tuple) else [node.slice]
        if head == "Literal":
            return Kind("literal", values=tuple(self.value(item) for item in inside))
        if head == "Optional":
            return union([self.kind(inside[0]), Kind("null")])
        if head == "Union":
            return union([self.kind(item) for item in inside])
        if head == "Annotated":
            bounds: dict[str, Any] = {}
            for item in inside[1:]:
                bounds.update(self._bounds(item))
            return bounded(self.kind(inside[0]), bounds)
        if head in ("list", "List", "Sequence"):
            return Kind("list", of=(self.kind(inside[0]),))
        if head in ("tuple", "Tuple") and len(inside) == 2 and self._is_ellipsis(inside[1]):
            return Kind("list", of=(self.kind(inside[0]),))
        raise NotInTextError

    def _bounds(self, node: ast.expr) -> Iterator[tuple[str, Any]]:
        """The bounds that one argument of Annotated states; a string there is a comment."""
        if isinstance(node, ast.Constant):
            return
        if not isinstance(node, ast.Call):
            raise NotInTextError
        name = self._dotted(node.func).rpartition(".")[2]
        if name in _SHORT and len(node.args) == 1:
            yield _SHORT[name], self.value(node.args[0])
        elif name in ("Field", "Interval", "Len") and not node.args:
            for keyword in node.keywords:
                if keyword.arg in BOUNDS:
                    yield str(keyword.arg), self.value(keyword.value)
                elif keyword.arg not in ("description", "title", "examples"):
                    raise NotInTextError
        else:
            raise NotInTextError

    def _is_dtype(self, node: ast.expr) -> bool:
        return self._dotted(node).startswith("torch.") and self._dotted(node).count(".") == 1

    def _dotted(self, node: ast.expr) -> str:
        """An expression of names and dots by what was imported: `th.float32` -> torch.float32; else
        "".
        """
        if isinstance(node, ast.Name):
            return self._modules.get(node.id) or self._members.get(node.id) or node.id
        if isinstance(node, ast.Attribute):
            return f"{self._dotted(node.value)}.{node.attr}"
        return ""

    @staticmethod
    def _is_ellipsis(node: ast.expr) -> bool:
        return isinstance(node, ast.Constant) and node.value is ...


def union(kinds: list[Kind]) -> Kind:
    """One of several types; unions in unions are flattened."""
    flat: list[Kind] = []
    for kind in kinds:
        flat.extend(kind.of if kind.name == "union" else [kind])
    different = [kind for index, kind in enumerate(flat) if kind not in flat[:index]]
    return Kind("union", of=tuple(different))


def bounded(kind: Kind, bounds: Mapping[str, Any]) -> Kind:
    """The type with bounds; those of `X | None` hold for X."""
    if not bounds:
        return kind
    if kind.name == "union":
        of = [one if one.name == "null" else bounded(one, bounds) for one in kind.of]
        return Kind("union", of=tuple(of))
    return Kind(kind.name, kind.of, kind.values, {**kind.bounds, **bounds})


def kind_of_value(value: Any) -> Kind:
    """The type that a default stands for where no annotation says it.

    Raises:
        NotInTextError: None, or a list of nothing or of several types, says too little.
    """
    for name, python in (("bool", bool), ("int", int), ("float", float), ("str", str)):
        if isinstance(value, python):
            return Kind(name)
    if isinstance(value, list) and value:
        items = {kind_of_value(item).name for item in value}
        if len(items) == 1:
            return Kind("list", of=(kind_of_value(value[0]),))
    raise NotInTextError
