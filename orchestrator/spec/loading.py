"""Reads and validates a sweep file, and names every broken rule with its line."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
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
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        why = getattr(error, "strerror", None) or error
        near = _near_file(Path(path))
        raise _refused(name, f"cannot be read ({why}): name an existing sweep file{near}") from None
    if len(raw) > MAX_BYTES:
        rule = f"is larger than {MAX_BYTES} bytes: a sweep file is a page or two of YAML"
        raise _refused(name, rule)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        byte = f"byte 0x{raw[error.start]:02x} at offset {error.start}"
        raise _refused(name, f"is not valid UTF-8: {byte} is part of no character") from None
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
    literals = re.findall(r"'([^']*)'", item["ctx"]["expected"])
    near = nearest(item["input"], literals)
    if near is None:
        return None
    return f"did you mean {near!r}?"


def worded(message: str) -> str:
    """A message of Pydantic's as a rule of ours: "Input should be a valid integer" -> "must be an
    integer".
    """
    for pattern, words in _WORDS:
        message = re.sub(pattern, words, message)
    return message[:1].lower() + message[1:]


def _near_file(path: Path) -> str:
    """' (did you mean ...?)' with a file of nearly that name, or with the other ending; or ''."""
    with suppress(OSError, ValueError):
        names = [entry.name for entry in path.parent.iterdir() if entry.suffix in (".yaml", ".yml")]
        near = nearest(path.name, names)
        if near is not None:
            return f" (did you mean {str(path.with_name(near))!r}?)"
    return ""


def _refused(name: str, rule: str) -> SweepFileError:
    return SweepFileError(name, [Problem("file", rule)])


def _explain_all(document: Document, error: ValidationError) -> list[Problem]:
    """One problem a field, in the order of their lines.

    Where a field inside another is wrong, the problems of the outer one only follow from it.
    """
    problems: dict[Path_, Problem] = {}
    for item in error.errors():
        path, problem = _explain(document, item)
        if path in problems:
            problem = _joined(problems[path], problem)
        problems[path] = problem
    outer = set()  # the paths that lead to a field with a problem
    for path in problems:
        for size in range(len(path)):
            outer.add(path[:size])
    kept = [problem for path, problem in problems.items() if path not in outer]
    return sorted(kept, key=lambda problem: problem.line or 0)


def _joined(one: Problem, other: Problem) -> Problem:
    """One problem for two branches of a union: "must be a boolean, an integer or a string"."""
    if one.rule == other.rule:
        return one
    before = one.rule.replace(" or ", ", ")
    return replace(one, rule=f"{before} or {other.rule.removeprefix('must be ')}")


def _explain(document: Document, item: Mapping[str, Any]) -> tuple[Path_, Problem]:
    """A Pydantic error in our words: where, the rule, the value found, the nearest valid name."""
    kind, found = item["type"], item["input"]
    path = _field_path(item["loc"], document.data, missing=kind == "missing")
    if kind == "extra_forbidden":
        name = str(path[-1])
        near = suggestion(name, _fields_of(path[:-1]))
        for place in _places_of(name):
            if place != ".".join(map(str, path)):
                near = f" (did you mean {place!r}?)"
                break
        return path, document.problem(path, f"unknown key{near}")
    if kind == "missing":
        hint = f"add a line `{path[-1]}:`"
        return path, document.problem(path, "required, and not given", hint=hint)
    if kind == "value_error":
        if isinstance(found, dict):  # a whole section is too much to show
            found = ...
        return path, document.problem(path, str(item["ctx"]["error"]), found)
    if kind == "string_pattern_mismatch":
        rule = (
            "must be a slug: 1 to 64 letters, digits, dots, dashes and underscores, a letter or "
            "digit first"
        )
        return path, document.problem(path, rule, found)
    return path, document.problem(path, worded(item["msg"]), found, hint=near_literal(item))


def _field_path(loc: Path_, data: Any, missing: bool) -> Path_:
    """The steps of a Pydantic location that are in the file; the others name branches of unions.

    The last step of a `missing` field is kept, too.
    """
    path: list[str | int] = []
    for part in loc:
        is_key = isinstance(data, dict) and part in data
        is_index = isinstance(data, list) and part in range(len(data))
        if is_key or is_index:
            data = data[part]
            path.append(part)
    if missing:
        path.append(loc[-1])
    return tuple(path)


def _fields_of(path: Path_) -> tuple[str, ...]:
    """The field names of the model at `path`; nothing where the file may choose them itself."""
    model: type[BaseModel] = SweepSpec
    for part in path:
        if isinstance(part, int):
            continue
        field = model.model_fields.get(part)
        models = _models_in(field.annotation) if field else []
        if not models:
            return ()
        model = models[0]
    return tuple(model.model_fields)


def _places_of(name: str) -> list[str]:
    """Where sections of the sweep file have a key of that name: `resources.timeout_s`."""
    found = []
    for section, field in SweepSpec.model_fields.items():
        if not isinstance(field.annotation, type):  # a list: `implementations[0].use`
            section = f"{section}[0]"
        for model in _models_in(field.annotation):
            if name in model.model_fields:
                found.append(f"{section}.{name}")
                break
    return found


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """The models that an annotation names: itself, or those of a list or a union."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    found = []
    for argument in get_args(annotation):
        found += _models_in(argument)
    return found
