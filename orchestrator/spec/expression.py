"""Arithmetic and comparisons over params, evaluated by simpleeval and never by eval.

What is allowed is named (see ALLOWED and FUNCTIONS); numbers stay small enough that no expression
can take long.
"""

from __future__ import annotations

import ast
import math
import operator
import re
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import lru_cache
from typing import Any

from simpleeval import DEFAULT_OPERATORS, EvalWithCompoundTypes

from orchestrator.errors import ExpressionError, suggestion
from orchestrator.util.quantities import is_number

ASSIGNS = re.compile(r"(?<![=!<>])=(?!=)")
MAX_LENGTH = 1000
MAX_DEPTH = 100
MAX_BITS = 1024  # of an integer: as far as floats reach
MAX_CACHED = 10_000  # results of one expression
CONSTANTS = {"true": True, "false": False, "null": None, "True": True, "False": False, "None": None}
ALLOWED = (
    ast.Expression, ast.BoolOp, ast.BinOp, ast.UnaryOp, ast.Compare, ast.IfExp, ast.Call,
    ast.Constant, ast.Name, ast.List, ast.Tuple, ast.Subscript, ast.Load, ast.boolop, ast.operator,
    ast.unaryop, ast.cmpop,
)  # fmt: skip


def _rounded(value: float, digits: int = 0) -> int | float:
    """As round, with bounded digits: round(7, -10**9) would build a number of 10**9 digits."""
    if not digits:
        return round(value)
    bounded = max(-400, min(400, digits))  # a float has no digits beyond
    return round(value, bounded)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": abs, "ceil": math.ceil, "floor": math.floor, "int": int, "len": len, "log2": math.log2,
    "max": max, "min": min, "round": _rounded, "sqrt": math.sqrt, "sum": sum,
}  # fmt: skip


def _bounded(apply: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Arithmetic on numbers only, its result at most MAX_BITS long."""

    def bounded(left: Any, right: Any) -> Any:
        for value in (left, right):
            if not isinstance(value, int | float):
                raise ValueError(f"{value!r} is not a number")
        result = apply(left, right)
        if isinstance(result, int) and result.bit_length() > MAX_BITS:
            raise ValueError("the number grows too large")
        return result

    return bounded


def _power(base: float, exponent: float) -> Any:
    """base**exponent; refused before it is computed, which alone could take minutes."""
    if isinstance(base, int) and isinstance(exponent, int):
        bits = base.bit_length() * exponent  # at most; `_bounded` has the exact bound
        if bits > 2 * MAX_BITS:
            raise ValueError("the number grows too large")
    return base**exponent


def _shift_left(value: int, places: int) -> int:
    if places > MAX_BITS:
        raise ValueError("the number grows too large")
    return value << places


_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: _power,
    ast.LShift: _shift_left, ast.RShift: operator.rshift, ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_, ast.BitXor: operator.xor,
}  # fmt: skip
OPERATORS = DEFAULT_OPERATORS | {kind: _bounded(apply) for kind, apply in _ARITHMETIC.items()}


class Expression:
    """A parsed expression, whose results are cached.

    Attributes:
        names: the params that it reads.
        compared: name -> the literal strings that it is compared with.

    Raises:
        ExpressionError: it does not parse, is too long, or uses what is not arithmetic or
            comparison.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._tree = _parse(text)
        names, called = set(), set()
        for node in ast.walk(self._tree):
            if isinstance(node, ast.Name):
                names.add(node.id)
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                called.add(node.func.id)
        self.names = frozenset(names - called - CONSTANTS.keys())
        self.compared = _compared(self._tree)
        self._order = sorted(self.names)
        self._evaluator = EvalWithCompoundTypes(
            operators=OPERATORS, functions=dict(FUNCTIONS), names={}
        )
        self._results: dict[str, Any] = {}

    def evaluate(self, values: Mapping[str, Any]) -> Any:
        """The value over `values` (options under their dotted names, options.x).

        Raises:
            ExpressionError: a name that is not there, or arithmetic that fails.
        """
        try:
            read = {name: values[name] for name in self._order}
        except KeyError as error:
            name = str(error.args[0])
            rule = f"no param {name!r} here{suggestion(name, values)}"
            raise ExpressionError(f"{self.text!r}: {rule}") from None
        key = repr(read)  # tells 1 from True and from 1.0, and knows lists
        if key in self._results:
            return self._results[key]
        self._evaluator.names = CONSTANTS | read
        try:
            result = self._evaluator.eval(self.text, previously_parsed=self._tree.body)
        except Exception as error:  # simpleeval raises whatever the arithmetic raises
            raise ExpressionError(f"{self.text!r} cannot be evaluated: {error}") from error
        if len(self._results) >= MAX_CACHED:
            self._results.clear()
        self._results[key] = result
        return result


@lru_cache(maxsize=1024)
def expression(text: str) -> Expression:
    """`Expression(text)`, parsed once."""
    return Expression(text)


def number(text: str, values: Mapping[str, Any]) -> int | float:
    """The number that `text` evaluates to.

    A whole float becomes an int, so that "seq_len / 4" serves where "//" does.

    Raises:
        ExpressionError: as evaluate, or the result is no finite number.
    """
    result = expression(text).evaluate(values)
    if not is_number(result) or not _finite(result):
        raise ExpressionError(f"{text!r} yields {result!r}, which is not a number")
    if isinstance(result, float) and result.is_integer():
        return int(result)
    return result


def condition(text: str, values: Mapping[str, Any]) -> bool:
    """Whether `text` holds over `values`.

    Raises:
        ExpressionError: as evaluate, or the result is not true or false.
    """
    result = expression(text).evaluate(values)
    if not isinstance(result, bool):
        raise ExpressionError(f"{text!r} yields {result!r}: a condition must be true or false")
    return result


def check(
    text: str, known: Iterable[str], values: Mapping[str, Collection[str]] | None = None
) -> Expression:
    """The parsed expression, its names checked against `known`.

    Args:
        text: the expression.
        known: the names that it may read.
        values: name -> the strings that it can have, for a hint where one of them was not quoted.

    Raises:
        ExpressionError: it does not parse or reads a name that is not known.
    """
    parsed = expression(text)
    unknown = parsed.names - set(known)
    if unknown:
        name = min(unknown)
        for quoted, strings in (values or {}).items():
            if name in strings:
                hint = f"quote it, {quoted} == {name!r}"
                raise ExpressionError(f"{text!r} reads a name {name!r}: {hint}")
        near = suggestion(name, known)
        raise ExpressionError(f"{text!r} reads {name!r}, which is not known here{near}")
    return parsed


def strange_values(text: str, values: Mapping[str, Collection[str]]) -> str:
    """Names the strings that the expression compares a name with, and that it never has.

    Each with the nearest that it can have; empty if there is none.

    Args:
        text: a valid expression.
        values: name -> the strings that it can have.
    """
    found = []
    for name, strings in values.items():
        compared = expression(text).compared.get(name, frozenset())
        for literal in sorted(compared.difference(strings)):
            found.append(f"no {name} is {literal!r}{suggestion(literal, strings)}")
    return "; ".join(found)


def _parse(text: str) -> ast.Expression:
    """The syntax tree of an expression, refused where it is more than arithmetic and comparison."""
    if len(text) > MAX_LENGTH:
        rule = f"an expression is at most {MAX_LENGTH} characters, this one has {len(text)}"
        raise ExpressionError(rule)
    try:
        # "1 is 2" and the like warn; `_refuse_unsafe` refuses them by name
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        why = getattr(error, "msg", error)
        if ASSIGNS.search(text):
            why = f"{why} (= assigns; compare with ==)"
        raise ExpressionError(f"{text!r} is not a valid expression: {why}") from None
    _refuse_deep(tree, text)
    for node in ast.walk(tree):
        _refuse_unsafe(node, text)
    _DottedNames().visit(tree)
    return tree


def _refuse_deep(tree: ast.AST, text: str) -> None:
    """Refuse what is nested deeply, level by level: a recursive walk would overflow the stack."""
    level: list[ast.AST] = [tree]
    for _ in range(MAX_DEPTH):
        below: list[ast.AST] = []
        for node in level:
            below.extend(ast.iter_child_nodes(node))
        if not below:
            return
        level = below
    raise ExpressionError(f"{text!r} is nested more than {MAX_DEPTH} levels deep")


def _refuse_unsafe(node: ast.AST, text: str) -> None:
    if isinstance(node, ast.Attribute):
        if not isinstance(node.value, ast.Name) or node.value.id != "options":
            raise ExpressionError(f"{text!r}: only options.<name> may have a dot")
    elif isinstance(node, ast.Call):
        if not isinstance(node.func, ast.Name) or node.func.id not in FUNCTIONS or node.keywords:
            name = ast.unparse(node.func)
            raise ExpressionError(f"{text!r}: no function {name!r}{suggestion(name, FUNCTIONS)}")
    elif isinstance(node, ast.Constant):
        if not isinstance(node.value, bool | int | float | str | None):
            raise ExpressionError(f"{text!r}: {node.value!r} is neither a number nor a string")
    elif not isinstance(node, ALLOWED) or isinstance(node, ast.MatMult):
        raise ExpressionError(
            f"{text!r}: {type(node).__name__} is neither arithmetic nor comparison"
        )


class _DottedNames(ast.NodeTransformer):
    """Makes `options.x` one name, so that nothing is left that could look up an attribute."""

    def visit_Attribute(self, node: ast.Attribute) -> ast.Name:
        return ast.Name(f"options.{node.attr}", ast.Load())


def _compared(tree: ast.AST) -> dict[str, frozenset[str]]:
    """Name -> the literal strings that stand in a comparison with it."""
    found: dict[str, set[str]] = {}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Compare):
            continue
        operands = [node.left, *node.comparators]
        names, strings = set(), set()
        for operand in operands:
            if isinstance(operand, ast.Name):
                names.add(operand.id)
            items = [operand]
            if isinstance(operand, ast.List | ast.Tuple):  # name in ["a", "b"]
                items = operand.elts
            for item in items:
                if isinstance(item, ast.Constant) and isinstance(item.value, str):
                    strings.add(item.value)
        for name in names:
            found.setdefault(name, set()).update(strings)
    return {name: frozenset(strings) for name, strings in found.items()}


def _finite(value: int | float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an int beyond every float
        return False
