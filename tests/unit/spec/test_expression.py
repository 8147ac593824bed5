"""Expressions are arithmetic and comparisons, quickly worked out, and nothing that could run
anything.
"""

from __future__ import annotations

import math
import time
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import ExpressionError
from orchestrator.spec.expression import (
    CONSTANTS,
    FUNCTIONS,
    check,
    condition,
    expression,
    number,
    strange_values,
)
from tests.support import strategies

VALUES = {
    "seq_len": 1024,
    "heads": 8,
    "dtype": "float32",
    "segment_lengths": [256, 512],
    "options.block_m": 64,
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("seq_len // 4", 256),
        ("seq_len / 4", 256),
        ("seq_len / 3", 1024 / 3),
        ("2 ** -1", 0.5),
        ("(heads + 1) % 4", 1),
        ("-heads", -8),
        ("ceil(log2(seq_len + 1))", 11),
        ("max(segment_lengths)", 512),
        ("segment_lengths[0] * len(segment_lengths)", 512),
        ("sum(segment_lengths)", 768),
        ("min(heads, 4) if heads > 4 else 1", 4),
        ("options.block_m << 1", 128),
        ("round(10 / 3, 1)", 3.3),
        ("int(sqrt(seq_len))", 32),
        (" 7 ", 7),
    ],
)
def test_numbers_are_worked_out(text: str, value: float) -> None:
    """A whole float becomes an int, so that a plain slash serves in a segment length."""
    found = number(text, VALUES)
    assert found == value
    assert isinstance(found, int) is isinstance(value, int)


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("seq_len == 1024 and heads in [8, 16]", True),
        ("dtype != 'float32' or heads < 8", False),
        ("not heads == 8", False),
        ("4 < heads <= 8", True),
        ("options.block_m == 64", True),
        ("dtype in ['float16', \"float32\"]", True),
        ("true", True),
        ("heads == null", False),
    ],
)
def test_conditions_hold_or_not(text: str, holds: bool) -> None:
    """YAML's true, false and null are known beside Python's."""
    assert condition(text, VALUES) is holds


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("heads", "yields 8: a condition must be true or false"),
        ("heads and 1", "must be true or false"),
        ("sequence == 1", "no param 'sequence' here (did you mean 'seq_len'?)"),
        ("heads = 8", "is not a valid expression: invalid syntax"),
        ("heads = 8 and batch == 1", "(= assigns; compare with ==)"),
        ("", "is not a valid expression"),
        ("heads ==", "is not a valid expression"),
        ("1 / 0 > 1", "division by zero"),
        ("dtype < 1", "'<' not supported"),
        ("segment_lengths[9] == 1", "out of range"),
        ("sqrt(-heads) > 1", "math domain error"),
    ],
)
def test_a_condition_that_fails_says_why(text: str, why: str) -> None:
    """The expression itself is quoted."""
    with pytest.raises(ExpressionError) as caught:
        condition(text, VALUES)
    assert why in str(caught.value)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    "text", ["dtype", "heads == 8", "segment_lengths", "1e308 * 10", "null", "(-8) ** 0.5"]
)
def test_what_is_no_finite_number_is_refused_where_a_number_is_wanted(text: str) -> None:
    """A bool is not a number, nor is infinity, nor a complex root."""
    with pytest.raises(ExpressionError, match="which is not a number"):
        number(text, VALUES)


@pytest.mark.parametrize(
    "text",
    [
        "().__class__",
        "dtype.upper()",
        "dtype.__class__",
        "'{0.__class__}'.format(1)",
        "options.block_m.real",
        "__import__('os').system('true')",
        "eval('1')",
        "print(1)",
        "(lambda: 1)()",
        "[x for x in (1, 2)]",
        "{1: 2}",
        "{1, 2}",
        "f'{heads}'",
        "(x := 3)",
        "max(*segment_lengths)",
        "max(segment_lengths, key=abs)",
        "segment_lengths[0:1]",
        "await heads",
        "1j",
        "b'bytes'",
        "...",
        "1 @ 2",
        "yield",
        "heads; heads",
        "import os",
        "heads\nheads",
        "\0",
    ],
)
def test_what_is_neither_arithmetic_nor_comparison_is_refused_before_it_is_evaluated(
    text: str,
) -> None:
    """Attributes, calls of anything not listed, comprehensions, assignments, and whatever else
    Python has.
    """
    with pytest.raises(ExpressionError):
        expression(text)


@pytest.mark.parametrize(
    "text",
    [
        "9 ** 9 ** 9",
        "4000000 ** 4000000",
        "10 ** 300 * 10 ** 300",
        "1 << 10 ** 9",
        "round(7, -10 ** 9) / 0",
        "'a' * 10 ** 9",
        "'%1000000000d' % 1",
        "[1] * 10 ** 9",
        "dtype + dtype",
        "-" * 990 + "1",
        "1" + " + 1" * 240,
        "(" * 300 + "1" + ")" * 300 + " / 0",
        "a" + "()" * 400,
        "x" * 1001,
    ],
)
def test_nothing_can_take_long_or_grow_large(text: str) -> None:
    """Huge powers and shifts, huge strings and lists, deep nesting: refused at once."""
    began = time.process_time()
    with pytest.raises(ExpressionError):
        expression(text).evaluate(VALUES)
    assert time.process_time() - began < 1


def test_no_function_reaches_beyond_numbers() -> None:
    """What may be called is listed, and none of it is a way to anything else."""
    assert set(FUNCTIONS) == {
        "abs",
        "ceil",
        "floor",
        "int",
        "len",
        "log2",
        "max",
        "min",
        "round",
        "sqrt",
        "sum",
    }
    assert not set(FUNCTIONS) & set(CONSTANTS)


@pytest.mark.parametrize("name", ["keys", "items", "get", "pop", "copy", "__class__", "__len__"])
def test_an_option_named_like_a_method_is_that_option(name: str) -> None:
    """A dotted name is one name; nothing is looked up on an object."""
    assert condition(f"options.{name} == 3", {f"options.{name}": 3})
    with pytest.raises(ExpressionError, match="no param"):
        condition(f"options.{name} == 3", {"heads": 1})


def test_names_are_checked_without_values() -> None:
    """A sweep file's expressions are checked before any point of the product is looked at."""
    assert check("max(heads, options.x) > batch", ["heads", "options.x", "batch"]).names == {
        "heads",
        "options.x",
        "batch",
    }
    with pytest.raises(
        ExpressionError, match=r"reads 'haeds', which is not known here \(did you mean 'heads'\?\)"
    ):
        check("haeds == 1", ["heads", "batch"])


def test_a_label_without_quotes_is_named_with_its_quotes() -> None:
    """`--only standard` and `--only 'implementation == standard'` come from who would not quote in
    a shell.
    """
    labels = {"implementation": ["standard", "improved"]}
    for text in ("standard", "implementation == standard"):
        with pytest.raises(ExpressionError, match="quote it, implementation == 'standard'"):
            check(text, ["implementation", "heads"], labels)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "implementation == 'standrad'",
            "no implementation is 'standrad' (did you mean 'standard'?)",
        ),
        (
            "implementation in ['standard', 'improvd']",
            "no implementation is 'improvd' (did you mean 'improved'?)",
        ),
        ("'standard' == implementation and heads == 8", ""),
        ("dtype == 'float8'", ""),
    ],
)
def test_what_a_name_never_is_can_be_told(text: str, said: str) -> None:
    """Of names whose values are known; for the rest nothing is said."""
    assert strange_values(text, {"implementation": ["standard", "improved"]}) == said


def test_a_remembered_value_is_told_apart_by_type() -> None:
    """1, 1.0, True and "1" are four values, and each is worked out for itself."""
    same = expression("value == 1 and value in [1]")
    assert [same.evaluate({"value": value}) for value in (1, "1", 2, [1], 1.0, True)] == [
        True, False, False, False, True, True,
    ]  # fmt: skip
    assert [expression("int(value)").evaluate({"value": value}) for value in ("1", 1.5, True)] == [
        1,
        1,
        1,
    ]
    assert number("x * 1", {"x": 1}) == 1
    assert number("x * 0.5", {"x": 1}) == 0.5


def test_errors_are_not_remembered_as_values() -> None:
    """The same point fails again."""
    for _ in range(2):
        with pytest.raises(ExpressionError):
            condition("heads / 0 == 1", VALUES)


@pytest.mark.slow
@given(strategies.arithmetic(), st.integers(1, 50), st.integers(1, 50), st.integers(1, 50))
def test_arithmetic_is_pythons_own(text: str, a: int, b: int, c: int) -> None:
    """On everything that Python can work out; where Python fails, an ExpressionError says so."""
    values: dict[str, Any] = {"a": a, "b": b, "c": c}
    try:
        expected = eval(text, {"__builtins__": {}}, values)
    except ZeroDivisionError:
        with pytest.raises(ExpressionError, match=r"zero|modulo"):
            expression(text).evaluate(values)
    else:
        assert math.isclose(expression(text).evaluate(values), expected)


@pytest.mark.slow
@given(st.text(max_size=30))
def test_any_text_gives_a_value_or_says_what_is_wrong(text: str) -> None:
    """No other exception ever comes out."""
    with suppress(ExpressionError):
        expression(text).evaluate(VALUES)
