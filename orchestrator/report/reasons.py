"""Explains rows that are not ok: each reason once, with its rows, a log and a command."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.formatting import counted, one_line, printable
from orchestrator.outcome import Flag, Outcome
from orchestrator.record import ErrorInfo
from orchestrator.report.layout import Layout
from orchestrator.results.rows import Row
from orchestrator.results.sweep_directory import SWEEPS, found_by

NUMBERS = re.compile(r"\d[\d.]*(?:e[+-]\d+)?")
# which figure of a wrong output is furthest out, and which part of it is wrong, is by chance of the
# shape: a fault met at eighteen shapes is one reason
WHERE = re.compile(r"\[[#:., ]*\](?: \([^()]*\))?|the error of (?:the|an?) \w+")
EXCEPTIONS = ("Error", "Exception", "Exit", "Interrupt", "Warning", "Iteration")
PLACE = re.compile(r"\([^()]*:\d+ in [^()]*\)")
WIDEST = 400  # of a message in one line
HINTS = {"EOFError": "it asked for input, and a trial has nobody to answer"}


@dataclass(frozen=True)
class Reason:
    """Rows of one implementation with the same outcome and, but for numbers and where an output is
    wrong, the same message.
    """

    implementation: str
    outcome: str
    rows: tuple[Row, ...]

    @property
    def first(self) -> Row:
        """The row whose message is shown."""
        return self.rows[0]


def grouped(layout: Layout) -> list[Reason]:
    """The reasons of every row that ran and is not ok, in the order of the table."""
    found: dict[tuple[str, str, str], list[Row]] = {}
    for row in layout.rows:
        if row.outcome in (None, Outcome.OK):
            continue
        alike = WHERE.sub("", NUMBERS.sub("#", message(row.error, row.outcome)))
        found.setdefault((row.implementation, str(row.outcome), alike), []).append(row)
    return [Reason(name, outcome, tuple(rows)) for (name, outcome, _), rows in found.items()]


def message(
    error: ErrorInfo | None, outcome: Outcome | None = Outcome.FAILED, width: int = WIDEST
) -> str:
    """How an attempt ended, in one line: `RuntimeError: no kernel for you (mine.py:3 in build)`.

    Only an exception that made the row `failed` is named: every other outcome says by itself what
    it is. `sys.exit(3)` has nothing but its code for a message, and says so.
    """
    if error is None:
        return "no reason was recorded"
    text = one_line(error.message, width)
    if outcome is not Outcome.FAILED:
        return text or printable(error.kind)
    if error.kind == "SystemExit":
        # `3 (mine.py:3 in build)`: the code, then the place if there is one
        code = re.match(r"(.*?)\s*(\([^()]*\))?$", text)
        if code is None:
            return f"called sys.exit({text})"
        said = f"called sys.exit({code[1]})"
        return f"{said} {code[2]}" if code[2] else said
    if not error.kind.endswith(EXCEPTIONS):
        return text or printable(error.kind)
    said = printable(error.kind)
    if PLACE.fullmatch(text):  # of an exception without a message: its place alone
        said += f" {text}"
    elif text:
        said += f": {text}"
    hint = HINTS.get(error.kind)
    return f"{said}: {hint}" if hint else said


def lines(layout: Layout, limit: int | None = None) -> Iterator[str]:
    """Two lines a reason: what happened to which rows, then the log and a command to repeat it.

    Every implementation's first reason comes before another's second. Beyond `limit` reasons the
    rest is counted, with the command that shows it.
    """
    first: list[Reason] = []
    more: list[Reason] = []
    named: set[str] = set()
    for reason in grouped(layout):
        (more if reason.implementation in named else first).append(reason)
        named.add(reason.implementation)
    reasons = first + more
    for reason in reasons[:limit]:
        said = message(reason.first.error, reason.first.outcome)
        yield f"  ✗ {reason.outcome}: {_rows(layout, reason)}: {said}"
        yield f"    {' · '.join(_places(layout, reason.first))}"
    if limit is not None and len(reasons) > limit:
        rest = counted(sum(len(reason.rows) for reason in reasons[limit:]), "more row")
        yield f"  ... and {rest}: orchestrator report {name_of(layout)} --errors"


def in_full(layout: Layout) -> str:
    """Every reason with its whole message and all its rows, as `report --errors` prints it."""
    parts = []
    for reason in grouped(layout):
        error = reason.first.error
        brief = message(error, reason.first.outcome)
        lines = [f"✗ {reason.outcome}: {printable(reason.implementation)}: {brief}"]
        said = "" if error is None else error.message.strip()
        if one_line(said, WIDEST) != said:  # else the first line has it all
            lines += [f"    {printable(line)}" for line in said.splitlines()]
        for row in reason.rows:
            places = " · ".join(_places(layout, row))
            lines.append(f"  {layout.point_text(row)}  {places}")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) if parts else "no row failed"


def name_of(layout: Layout) -> str:
    """The sweep's name for a command: its id, else its directory; quoted for a shell."""
    directory = layout.results.directory
    if directory is None:
        return layout.sweep_id
    return shlex.quote(found_by(layout.results.meta.name, directory))


def shown_path(path: Path) -> str:
    """A path to click or paste: relative if below the current directory, else absolute."""
    whole = path.absolute()
    if whole.is_relative_to(Path.cwd()):
        return str(whole.relative_to(Path.cwd()))
    return str(whole)


def _rows(layout: Layout, reason: Reason) -> str:
    first = f"{printable(reason.implementation)} {layout.point_text(reason.first)}".rstrip()
    if len(reason.rows) == 1:
        return first
    return f"{first} and {counted(len(reason.rows) - 1, 'more row')}"


def _places(layout: Layout, row: Row) -> Sequence[str]:
    """The log, and the command that runs this row again before one's eyes."""
    directory = layout.results.directory
    if directory is None:
        return [str(row.log)]
    log = shown_path(directory / str(row.log))
    if Flag.PREDICTED.value in row.flags:  # it was not run, so there is nothing to repeat
        return [log]
    command = f"orchestrator try {row.trial_id}"
    if not directory.absolute().is_relative_to(Path.cwd() / SWEEPS):  # where `try` looks by itself
        command += f" --sweep {shlex.quote(shown_path(directory))}"
    return [log, command]
