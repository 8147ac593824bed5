"""Arithmetic and comparisons over params, evaluated by simpleeval and never by eval."""

from __future__ import annotations

import ast
import math
import warnings
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from simpleeval import EvalWithCompoundTypes

from orchestrator.errors import ExpressionError
from orchestrator.registry import suggestion

MAX_LENGTH = 1000
FUNCTIONS = {
    "abs": abs, "ceil": math.ceil, "floor": math.floor, "int": int, "len": len, "log2": math.log2,
    "max": max, "min": min, "round": round, "sqrt": math.sqrt, "sum": sum,
}  # fmt: skip
CONSTANTS = {"true": True, "false": False, "null": None, "True": True, "False": False, "None": None}
ALLOWED = (
    ast.Expression, ast.BoolOp, ast.BinOp, ast.UnaryOp, ast.Compare, ast.IfExp, ast.Call, ast.Constant, ast.Name,
    ast.List, ast.Tuple, ast.Subscript, ast.Load, ast.boolop, ast.operator, ast.unaryop, ast.cmpop,
)  # fmt: skip


class Expression:
    """A parsed expression: `names` are the params it reads.

    Raises:
        ExpressionError: it does not parse, is too long, or uses what is not arithmetic or comparison.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._tree = _parse(text)
        calls = {id(node.func) for node in ast.walk(self._tree) if isinstance(node, ast.Call)}
        self.names: frozenset[str] = frozenset(
            _dotted(node)
            for node in ast.walk(self._tree)
            if id(node) not in calls
            and (_dotted(node) not in {*CONSTANTS, ""})
            and not _inside_dotted(node, self._tree)
        )

    def evaluate(self, values: Mapping[str, Any]) -> Any:
        """The value over `values` (a key `options.x` is read as options.x).

        Raises:
            ExpressionError: a name that is not there, or arithmetic that fails.
        """
        missing = self.names - values.keys()
        if missing:
            name = min(missing)
            raise ExpressionError(f"{self.text!r}: no param {name!r} here{suggestion(name, values)}")
        evaluator = EvalWithCompoundTypes(functions=dict(FUNCTIONS), names={**CONSTANTS, **_nested(values)})
        try:
            return evaluator.eval(self.text, previously_parsed=self._tree.body)
        except Exception as error:  # simpleeval raises whatever the arithmetic raises
            raise ExpressionError(f"{self.text!r} cannot be evaluated: {error}") from error


@lru_cache(maxsize=4096)
def expression(text: str) -> Expression:
    """`Expression(text)`, parsed once."""
    return Expression(text)


def number(text: str, values: Mapping[str, Any]) -> int | float:
    """The number that `text` works out to; a whole float becomes an int, so that "seq_len / 4" serves where "//" does.

    Raises:
        ExpressionError: as evaluate, or the result is no finite number.
    """
    result = expression(text).evaluate(values)
    if isinstance(result, bool) or not isinstance(result, int | float) or not _finite(result):
        raise ExpressionError(f"{text!r} yields {result!r}, which is no number")
    return int(result) if isinstance(result, float) and result.is_integer() else result


def condition(text: str, values: Mapping[str, Any]) -> bool:
    """Whether `text` holds over `values`.

    Raises:
        ExpressionError: as evaluate, or the result is not true or false.
    """
    result = expression(text).evaluate(values)
    if not isinstance(result, bool):
        raise ExpressionError(f"{text!r} yields {result!r}: a condition must be true or false")
    return result


def check(text: str, known: Iterable[str]) -> Expression:
    """The parsed expression, its names checked against `known`.

    Raises:
        ExpressionError: it does not parse or reads a name that is not known.
    """
    parsed = expression(text)
    unknown = parsed.names - set(known)
    if unknown:
        name = min(unknown)
        raise ExpressionError(f"{text!r} reads {name!r}, which is not known here{suggestion(name, known)}")
    return parsed


def _parse(text: str) -> ast.Expression:
    if len(text) > MAX_LENGTH:
        raise ExpressionError(f"an expression is at most {MAX_LENGTH} characters, this one has {len(text)}")
    try:
        with warnings.catch_warnings():  # "1 is 2" and the like warn; the check below refuses them by name
            warnings.simplefilter("ignore", SyntaxWarning)
            tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ExpressionError(f"{text!r} is no expression: {getattr(error, 'msg', error)}") from None
    for node in ast.walk(tree):
        _refuse_unsafe(node, text)
    return tree


def _refuse_unsafe(node: ast.AST, text: str) -> None:
    if isinstance(node, ast.Attribute):
        if not _dotted(node):
            raise ExpressionError(f"{text!r}: only options.<name> may have a dot")
    elif isinstance(node, ast.Call):
        if not isinstance(node.func, ast.Name) or node.func.id not in FUNCTIONS or node.keywords:
            name = ast.unparse(node.func)
            raise ExpressionError(f"{text!r}: no function {name!r}{suggestion(name, FUNCTIONS)}")
    elif not isinstance(node, ALLOWED):
        raise ExpressionError(f"{text!r}: {type(node).__name__} is neither arithmetic nor comparison")


def _finite(value: int | float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an int beyond every float
        return False


def _dotted(node: ast.AST) -> str:
    """The name that a node reads: a plain one, `options.x`, or '' for any other node."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "options":
        return f"options.{node.attr}"
    return ""


def _inside_dotted(node: ast.AST, tree: ast.AST) -> bool:
    return any(isinstance(parent, ast.Attribute) and parent.value is node for parent in ast.walk(tree))


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    options = {name.removeprefix("options."): value for name, value in values.items() if name.startswith("options.")}
    plain = {name: value for name, value in values.items() if not name.startswith("options.")}
    return {**plain, "options": options} if options else plain
