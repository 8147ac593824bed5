"""Reads a sweep file once, at the edge: YAML with line numbers, overrides, and every broken rule
named.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from orchestrator.errors import Problem, SweepFileError, nearest, suggestion
from orchestrator.spec import document as documents
from orchestrator.spec import overrides as assignments
from orchestrator.spec.document import Document, Path_, dotted, shorten
from orchestrator.spec.models import SweepSpec

__all__ = ["Document", "Path_", "dotted", "near_literal", "parse", "read", "shorten", "worded"]

MAX_BYTES = 1_000_000
# Pydantic's words -> those of someone who writes YAML
_WORDS = (
    (r"^Input should be", "must be"),
    (r"^(String|List|Tuple|Dictionary|Value) should", "must"),
    (r"^Field required", "required"),
    (r"(at (?:least|most) \d+ items?) after validation, not (\d+)", r"\1"),
    (r"\ba valid (dictionary or instance of \w+|dictionary|object)", "a mapping"),
    (r"\ban object\b", "a mapping"),
    (r"\ba valid (array|list|tuple)", "a list"),
    (r"\ba valid (?=[aeio])", "an "),
    (r"\ba valid ", "a "),
)


def read(path: str | Path, overrides: Sequence[str] = ()) -> tuple[SweepSpec, Document]:
    """The validated sweep file at `path`, with `-S path=value` overrides applied.

    Raises:
        SweepFileError: the file is missing, does not parse, or breaks rules; each is named with its
            line.
        RequestError: an override that is not path=value.
    """
    name = str(path)
    try:
        with Path(path).open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise _refused(
            name, f"cannot be read ({why}): name an existing sweep file{_near_file(Path(path))}"
        ) from None
    if len(raw) > MAX_BYTES:
        raise _refused(
            name, f"is larger than {MAX_BYTES} bytes: a sweep file is a page or two of YAML"
        )
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _refused(
            name,
            f"is not valid UTF-8: byte 0x{raw[error.start]:02x} at offset {error.start} is part "
            "of no character",
        ) from None
    return parse(text, name, overrides)


def parse(text: str, name: str, overrides: Sequence[str] = ()) -> tuple[SweepSpec, Document]:
    """As `read`, from a text."""
    document = documents.load(text, name)
    for override in overrides:
        assignments.apply(document, override)
    try:
        return SweepSpec.model_validate_json(json.dumps(document.data)), document
    except ValidationError as error:
        raise SweepFileError(name, _explain_all(document, error)) from None


def near_literal(item: Mapping[str, Any]) -> str | None:
    """A hint at the literal that is meant by a value that is none of them: `half` for float16."""
    if item["type"] != "literal_error" or not isinstance(item["input"], str):
        return None
    near = nearest(item["input"], re.findall(r"'([^']*)'", item["ctx"]["expected"]))
    return None if near is None else f"did you mean {near!r}?"


def worded(message: str) -> str:
    """A message of Pydantic's as a rule of ours: "Input should be a valid integer" -> "must be an
    integer".
    """
    for pattern, words in _WORDS:
        message = re.sub(pattern, words, message)
    return message[:1].lower() + message[1:]


def _near_file(path: Path) -> str:
    """The file that is meant by a slip of the finger, or by the other ending: ' (did you mean
    ...?)', or nothing.
    """
    with suppress(OSError, ValueError):
        names = [entry.name for entry in path.parent.iterdir() if entry.suffix in (".yaml", ".yml")]
        near = nearest(path.name, names)
        if near is not None:
            return f" (did you mean {str(path.with_name(near))!r}?)"
    return ""


def _refused(name: str, rule: str) -> SweepFileError:
    return SweepFileError(name, [Problem("file", rule)])


def _explain_all(document: Document, error: ValidationError) -> list[Problem]:
    """One problem a field; what only follows from a problem further in is left out."""
    problems: dict[Path_, Problem] = {}
    for item in error.errors():
        path, problem = _explain(document, item)
        problems[path] = _either(problems[path], problem) if path in problems else problem
    inner = [problem for path, problem in problems.items() if not _has_inner(path, problems)]
    return sorted(inner, key=lambda problem: problem.line or 0)


def _has_inner(path: Path_, problems: Mapping[Path_, Problem]) -> bool:
    return any(len(other) > len(path) and other[: len(path)] == path for other in problems)


def _either(one: Problem, other: Problem) -> Problem:
    """The branches of a union that all refused a value: "must be a boolean, an integer or a
    string".
    """
    if one.rule == other.rule:
        return one
    before = one.rule.replace(" or ", ", ")
    return replace(one, rule=f"{before} or {other.rule.removeprefix('must be ')}")


def _explain(document: Document, item: Mapping[str, Any]) -> tuple[Path_, Problem]:
    """A Pydantic error in our words: where, the rule, the value found, the nearest valid name."""
    kind, found = item["type"], item["input"]
    path = _field_path(item["loc"], document.data, missing=kind == "missing")
    if kind == "extra_forbidden":
        name, siblings = str(path[-1]), _fields_of(path[:-1])
        elsewhere = [other for other in _sections_of(name) if other != ".".join(map(str, path))]
        meant = f" (did you mean {elsewhere[0]!r}?)" if elsewhere else suggestion(name, siblings)
        return path, document.problem(path, f"unknown key{meant}")
    if kind == "missing":
        return path, document.problem(
            path, "required, and not given", hint=f"add a line `{path[-1]}:`"
        )
    if kind == "value_error":
        return path, document.problem(
            path, str(item["ctx"]["error"]), ... if isinstance(found, dict) else found
        )
    if kind == "string_pattern_mismatch":
        rule = (
            "must be a slug: 1 to 64 letters, digits, dots, dashes and underscores, a letter or "
            "digit first"
        )
        return path, document.problem(path, rule, found)
    return path, document.problem(path, worded(item["msg"]), found, hint=near_literal(item))


def _field_path(loc: Path_, data: Any, missing: bool) -> Path_:
    """The steps of a Pydantic location that are fields of the file; the others name branches of
    unions.
    """
    path: list[str | int] = []
    for part in loc:
        inside = (
            part in data
            if isinstance(data, dict)
            else isinstance(data, list) and part in range(len(data))
        )
        if inside:
            data = data[part]
            path.append(part)
    return (*path, loc[-1]) if missing else tuple(path)


def _fields_of(path: Path_) -> tuple[str, ...]:
    """The field names of the model at `path`; nothing where the file may choose them itself."""
    model: type[BaseModel] = SweepSpec
    for part in path:
        if isinstance(part, int):
            continue
        found = model.model_fields.get(str(part))
        inner = _models_in(found.annotation) if found else []
        if not inner:
            return ()
        model = inner[0]
    return tuple(model.model_fields)


def _sections_of(name: str) -> list[str]:
    """Where the sweep file has a key of that name, in a section: `resources.timeout_s`."""
    found = []
    for section, field in SweepSpec.model_fields.items():
        if any(name in model.model_fields for model in _models_in(field.annotation)):
            each = "" if isinstance(field.annotation, type) else "[0]"
            found.append(f"{section}{each}.{name}")
    return found


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return list(chain.from_iterable(map(_models_in, get_args(annotation))))
