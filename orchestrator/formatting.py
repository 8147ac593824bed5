"""Text for people: numbers with the digits that carry meaning, labels that are safe to print."""

from __future__ import annotations

import io
import math
import shutil
import sys
import textwrap
from collections.abc import Collection, Sequence
from typing import Any, TextIO

NONE = "N/A"
UNLIMITED = 10_000  # columns of what is no terminal
NARROWEST = 14  # of a column that is wrapped
GAP = 2  # between two columns
MARKDOWN = str.maketrans({character: f"\\{character}" for character in "\\`*[]<>|~"})
LATEX = str.maketrans(
    {
        "&": r"\&",
        "%": r"\%",
        "$": r"\$",
        "#": r"\#",
        "_": r"\_",
        "{": r"\{",
        "}": r"\}",
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
    }
)


def printable(text: str) -> str:
    """`text` on one line: control, bidirectional and other unprintable characters as escapes."""
    if text.isprintable():
        return text
    return "".join(map(_printable, text))


def _printable(character: str) -> str:
    if character.isprintable():
        return character
    if character in "\n\t":
        return " "
    return character.encode("unicode_escape", "surrogatepass").decode()


def one_line(text: str, width: int = 120) -> str:
    """The line of `text` that says most, cut to `width`: the first, but the last of a traceback."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return ""
    line = lines[0]
    if line.startswith("Traceback ("):
        line = lines[-1]
    line = printable(line)
    if len(line) > width:
        line = f"{line[: width - 1]}…"
    return line


def markdown(text: str) -> str:
    """`text` as it is, in a cell of a Markdown table."""
    return printable(text).translate(MARKDOWN)


def latex(text: str) -> str:
    """`text` as it is, in a cell of a LaTeX table."""
    return printable(text).translate(LATEX)


def shown(value: Any) -> str:
    """A param's value: lists by comma, floats without noise, None as N/A."""
    if value is None:
        return NONE
    if isinstance(value, list | tuple):
        return ", ".join(shown(item) for item in value)
    if isinstance(value, float):
        return f"{value:.6g}"
    return printable(str(value))


def number(value: float | None, decimals: int = 2) -> str:
    """At least `decimals` decimals and three significant digits, never an exponent; None as N/A."""
    if value is None:
        return NONE
    if value != 0 and abs(value) < 1:
        three_digits = 2 - math.floor(math.log10(abs(value)))
        decimals = max(decimals, min(9, three_digits))
    return f"{value:.{decimals}f}"


def grouped(value: float | None, decimals: int = 2) -> str:
    """As `number`, with separators: `1,333,391`."""
    if value is None or abs(value) < 1000:
        return number(value, decimals)
    return f"{value:,.{decimals}f}"


def interval(median: float | None, low: float | None, high: float | None) -> str:
    """`1.160 [1.152, 1.171]`, as `with_interval`; the median alone where there is no interval."""
    return " ".join(filter(None, with_interval(median, low, high)))


def with_interval(median: float | None, low: float | None, high: float | None) -> tuple[str, str]:
    """`("1.160", "[1.152, 1.171]")`: as many decimals as show two digits of the half-width.

    The median keeps two digits of its own however wide the interval is, and a bound never reads as
    0. The interval is empty where there is none, and where it reaches 0: a time or a ratio cannot.
    """
    if median is None or low is None or high is None or low <= 0:
        return number(median), ""
    half = (high - low) / 2
    decimals = 2
    if half > 0:
        decimals = min(7, max(_decimals(half), _decimals(median)))
    bounds = []
    for bound in (low, high):
        digits = decimals
        if bound < 10.0**-decimals:
            digits = _decimals(bound)
        bounds.append(f"{bound:.{digits}f}")
    return f"{median:.{decimals}f}", f"[{', '.join(bounds)}]"


def _decimals(value: float) -> int:
    """The decimals that show two significant digits of a value other than 0."""
    return max(0, 1 - math.floor(math.log10(abs(value))))


def axis_text(name: str, value: Any) -> str:
    """The value of an axis, as `shown`; an option that was not set is at its `default`."""
    if value is None and name.startswith("options."):
        return "default"
    return shown(value)


def duration(seconds: float) -> str:
    """`45 s`, `3 min 5 s`, `2 h 10 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def roughly(seconds: float) -> str:
    """A forecast's duration, rounded to 5 s; from 1 min to 10 s, from 10 min to whole minutes."""
    step = 60
    if seconds < 60:
        step = 5
    elif seconds < 600:
        step = 10
    return duration(max(step, step * round(seconds / step)))


def chance(share: float) -> str:
    """A chance in percent that is neither none nor certain: it is rounded to neither 0 nor 100."""
    percent = 100 * share
    if percent > 99:
        return "more than 99 %"
    if percent < 1:
        return "less than 1 %"
    return f"{percent:.0f} %"


def counted(count: int, noun: str) -> str:
    """`1 trial`, `2 trials`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def table_text(
    headings: Sequence[str], body: Sequence[Sequence[str]], wrapped: Collection[int]
) -> str:
    """A table without rules between its rows; on a terminal no wider than that.

    Args:
        headings: of the columns.
        body: one text per column and row.
        wrapped: the columns that may be broken, between words, where the terminal is narrow.
    """
    from rich import box  # rich takes a while, and few commands print such a table
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for place, heading in enumerate(headings):
        table.add_column(Text(heading), no_wrap=place not in wrapped, overflow="fold")
    for cells in body:
        table.add_row(*map(Text, cells))
    columns = UNLIMITED
    if sys.stdout.isatty():  # and where that is too narrow, legible all the same
        least = 0
        for place, column in enumerate(zip(headings, *body, strict=True)):
            length = max(map(len, column))
            if place in wrapped:
                length = min(length, NARROWEST)
            least += GAP + length
        columns = max(shutil.get_terminal_size().columns, least)
    printed = io.StringIO()
    Console(file=printed, width=columns, force_terminal=False).print(table)
    return "\n".join(line.rstrip() for line in printed.getvalue().splitlines())


def fitted(text: str, stream: TextIO | None = None) -> str:
    """`text` broken between words where the stream (default: stdout) is a terminal.

    Paths and commands stay whole.
    """
    if not (stream or sys.stdout).isatty():
        return text
    columns = shutil.get_terminal_size().columns
    broken = []
    for line in text.splitlines():
        indent = " " * (len(line) - len(line.lstrip()) + GAP)
        parts = textwrap.wrap(
            line, columns, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
        )
        broken += parts or [""]  # an empty line has no parts
    return "\n".join(broken)
