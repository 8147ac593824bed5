"""Cases: named points that set several params at once, as rows of a CSV, JSON, JSONL, YAML or
Parquet file.

A cell of a CSV file is a number, true, false or a list where it reads as one in JSON, else a
string; an empty one is a param that this row does not state.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.errors import ExpressionError, Problem, SweepFileError, suggestion
from orchestrator.spec import document as documents
from orchestrator.spec.axes import CASE_NAME
from orchestrator.spec.expression import condition

MAX_BYTES = 50_000_000


@dataclass(frozen=True)
class Row:
    """One case: what it states, and the line of the file that it begins on."""

    values: dict[str, Any]
    line: int


def read(path: Path, shown: str) -> list[Row]:
    """The rows of a file of cases, of the kind that its name ends in.

    Args:
        path: the file.
        shown: its name in messages.

    Raises:
        SweepFileError: it cannot be read, does not parse, or holds no rows; with its name and the
            line.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        known = ", ".join(sorted(READERS))
        raise _refused(shown, f"is not a file of cases: its name must end in one of {known}")
    try:
        if path.stat().st_size > MAX_BYTES:
            raise _refused(shown, f"is larger than {MAX_BYTES} bytes")
        rows = reader(path, shown)
    except OSError as error:
        raise _refused(shown, f"cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        rule = f"is not valid UTF-8: {error.reason} at offset {error.start}"
        raise _refused(shown, rule) from None
    if not rows:
        raise _refused(shown, "holds no cases")
    return rows


def picked(
    rows: Sequence[Row], shown: str, columns: Sequence[str] | Mapping[str, str]
) -> list[Row]:
    """The rows with these columns alone; a mapping gives each param the column that states it.

    Raises:
        SweepFileError: no row has such a column.
    """
    column_of = columns if isinstance(columns, Mapping) else {name: name for name in columns}
    known: dict[str, Any] = {}  # every column that a row has
    for row in rows:
        known |= row.values
    for column in column_of.values():
        if column not in known:
            rule = f"is not a column of this file{suggestion(column, known)}"
            raise SweepFileError(shown, [Problem(column, rule)])
    kept = []
    for row in rows:
        values = {}
        for name, column in column_of.items():
            if column in row.values:
                values[name] = row.values[column]
        kept.append(Row(values, row.line))
    return kept


def check(rows: Sequence[Row], shown: str, known: Sequence[str]) -> None:
    """That every column is a param or the name, and that no name is given twice.

    Args:
        rows: what was read.
        shown: the file's name in messages.
        known: the params of the workload.

    Raises:
        SweepFileError: naming each broken rule with its line.
    """
    problems: list[Problem] = []
    unknown: set[str] = set()
    names: dict[Any, int] = {}
    for row in rows:
        for column in row.values:
            if column != CASE_NAME and column not in known and column not in unknown:
                unknown.add(column)
                rule = f"is not a param of the workload{suggestion(column, known)}"
                problems.append(Problem(column, rule, None, row.line))
        if CASE_NAME not in row.values:
            continue
        name = row.values[CASE_NAME]
        if name in names:
            rule = f"is given twice, first on line {names[name]}: a case has a name of its own"
            problems.append(Problem(CASE_NAME, rule, json.dumps(name), row.line))
        names.setdefault(name, row.line)
    if problems:
        raise SweepFileError(shown, problems[:10])


def chosen(
    rows: Sequence[Row], shown: str, every: int, where: str | None, defaults: Mapping[str, Any]
) -> list[Row]:
    """Every so many-th of the rows for which `where` holds.

    Raises:
        SweepFileError: `where` fails for a row.
    """
    if where is None:
        return list(rows[::every])
    kept = []
    for row in rows:
        try:
            holds = condition(where, {**defaults, **row.values})
        except ExpressionError as error:
            raise SweepFileError(shown, [Problem("where", str(error), None, row.line)]) from None
        if holds:
            kept.append(row)
    return kept[::every]


def _refused(shown: str, rule: str, line: int | None = None) -> SweepFileError:
    return SweepFileError(shown, [Problem("file", rule, line=line)])


def _csv(path: Path, shown: str) -> list[Row]:
    """The rows below the header; empty lines and lines that begin with # are left out."""
    text = path.read_bytes().decode("utf-8-sig")  # a spreadsheet may write a byte order mark
    reader = csv.reader(io.StringIO(text), skipinitialspace=True)
    header: list[str] = []
    rows = []
    next_line = 1  # a quoted cell may hold line breaks, so that a row may have several lines
    for raw_cells in reader:
        line, next_line = next_line, reader.line_num + 1
        cells = [cell.strip() for cell in raw_cells]
        if cells in ([], [""]) or raw_cells[0].startswith("#"):
            continue
        if not header:
            header = cells
            for name in sorted(header):
                if name and header.count(name) > 1:
                    raise _refused(shown, f"the column {name!r} is given twice", line)
            if "" in header:
                raise _refused(shown, "a column has no name", line)
            continue
        if len(cells) != len(header):
            raise _refused(shown, f"has {len(cells)} cells, and the header {len(header)}", line)
        values = {}
        for name, cell in zip(header, cells, strict=True):
            if cell:
                values[name] = _cell(name, cell)
        rows.append(Row(values, line))
    return rows


def _cell(column: str, text: str) -> Any:
    """The value of a CSV cell."""
    if column == CASE_NAME:  # a case may be called 1.0 or true
        return text
    lowered = text.lower()
    if lowered in ("true", "false"):
        return lowered == "true"
    try:
        value = json.loads(text)
    except ValueError:
        return text
    if value is None or isinstance(value, dict):
        return text
    return value


def _json(path: Path, shown: str) -> list[Row]:
    text = path.read_text(encoding="utf-8")
    try:
        data = json.loads(text)
    except ValueError as error:
        line = getattr(error, "lineno", None)
        raise _refused(shown, f"does not parse as JSON: {error}", line) from None
    if not isinstance(data, list):
        raise _refused(shown, "must be a list of cases, each a mapping from params to values")
    items = zip(data, _lines_of_items(text), strict=True)
    return [_row(item, shown, line) for item, line in items]


def _lines_of_items(text: str) -> Iterator[int]:
    """The line on which each item of a valid JSON list begins: the decoder tells none."""
    decoder = json.JSONDecoder()
    position = text.index("[") + 1
    line, counted = 1, 0
    while True:
        while text[position].isspace() or text[position] == ",":
            position += 1
        if text[position] == "]":
            return
        line += text.count("\n", counted, position)
        counted = position
        yield line
        _, position = decoder.raw_decode(text, position)


def _jsonl(path: Path, shown: str) -> list[Row]:
    rows = []
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not text.strip():
            continue
        try:
            rows.append(_row(json.loads(text), shown, number))
        except ValueError as error:
            raise _refused(shown, f"does not parse as JSON: {error}", number) from None
    return rows


def _yaml(path: Path, shown: str) -> list[Row]:
    data, lines = documents.list_of(path.read_text(encoding="utf-8"), shown)
    return [_row(item, shown, lines[index]) for index, item in enumerate(data)]


def _parquet(path: Path, shown: str) -> list[Row]:
    try:
        from pyarrow import parquet
    except ImportError:
        rule = "is a Parquet file, which needs the package pyarrow: install it, or write CSV"
        raise _refused(shown, rule) from None
    data = parquet.read_table(path).to_pylist()
    return [_row(item, shown, number) for number, item in enumerate(data, start=1)]


def _row(item: Any, shown: str, line: int) -> Row:
    """The case in a mapping; null is a param that it does not state."""
    if not isinstance(item, dict):
        raise _refused(shown, "a case must be a mapping from params to values", line)
    values = {}
    for name, value in item.items():
        if value is not None:
            values[str(name)] = value
    return Row(values, line)


READERS: dict[str, Callable[[Path, str], list[Row]]] = {
    ".csv": _csv,
    ".json": _json,
    ".jsonl": _jsonl,
    ".ndjson": _jsonl,
    ".yaml": _yaml,
    ".yml": _yaml,
    ".parquet": _parquet,
}
