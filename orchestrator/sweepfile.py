"""Reads a sweep file once, at the edge: YAML with line numbers, overrides, and every broken rule named."""

from __future__ import annotations

import io
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from orchestrator.errors import Problem, RequestError, SweepFileError
from orchestrator.registry import suggestion
from orchestrator.spec import SweepSpec

MAX_BYTES = 1_000_000
MAX_NODES = 500_000
Path_ = tuple[str | int, ...]


@dataclass
class Document:
    """A parsed sweep file: plain data, and where each field stands.

    Attributes:
        name: the file's name as the user gave it.
        text: the file's text, kept for the record.
        data: plain JSON values.
        lines: field path -> line, from 1.
    """

    name: str
    text: str
    data: dict[str, Any]
    lines: dict[Path_, int] = field(default_factory=dict)
    overridden: list[Path_] = field(default_factory=list)

    def problem(self, path: Path_, rule: str, found: Any = ..., hint: str | None = None) -> Problem:
        """A broken rule at `path`, with the nearest line known and the value found."""
        shown = None if found is ... else shorten(found)
        if any(path[: len(done)] == done for done in self.overridden):
            hint = f"{hint}; set by -S" if hint else "set by -S"
            return Problem(dotted(path), rule, shown, None, hint)
        line = next((self.lines[path[:size]] for size in range(len(path), 0, -1) if path[:size] in self.lines), None)
        return Problem(dotted(path), rule, shown, line, hint)


def read(path: str | Path, overrides: Sequence[str] = ()) -> tuple[SweepSpec, Document]:
    """The validated sweep file at `path`, with `-S path=value` overrides applied.

    Raises:
        SweepFileError: the file is missing, does not parse, or breaks rules; each is named with its line.
        RequestError: an override that is not path=value.
    """
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        raise SweepFileError(
            str(path), [Problem("file", f"cannot be read ({error.strerror}): name an existing sweep file")]
        ) from None
    if len(raw) > MAX_BYTES:
        raise SweepFileError(str(path), [Problem("file", f"is larger than {MAX_BYTES} bytes", str(len(raw)))])
    return parse(raw.decode("utf-8", "replace"), str(path), overrides)


def parse(text: str, name: str, overrides: Sequence[str] = ()) -> tuple[SweepSpec, Document]:
    """As `read`, from a text."""
    document = _load_yaml(text, name)
    for override in overrides:
        _apply(document, override)
    try:
        return SweepSpec.model_validate_json(json.dumps(document.data, allow_nan=True)), document
    except ValidationError as error:
        raise SweepFileError(name, _explain_all(document, error)) from None


def dotted(path: Path_) -> str:
    """('axes', 'heads', 1) -> axes.heads[1]."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".") or "file"


def shorten(value: Any) -> str:
    """`value` as JSON, cut to 80 characters."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _yaml() -> YAML:
    return YAML(typ="rt", pure=True)


def _load_yaml(text: str, name: str) -> Document:
    try:
        tree = _yaml().load(io.StringIO(text))
    except MarkedYAMLError as error:
        mark = error.problem_mark
        rule = " ".join(f"does not parse as YAML: {error.problem or error.context}".split())
        raise SweepFileError(name, [Problem("file", rule, line=mark.line + 1 if mark else None)]) from None
    except (YAMLError, ValueError, RecursionError) as error:
        raise SweepFileError(name, [Problem("file", f"does not parse as YAML: {error}")]) from None
    if not isinstance(tree, CommentedMap):
        rule = "must be a mapping of fields such as name, workload, implementations, axes"
        raise SweepFileError(name, [Problem("file", rule, type(tree).__name__ if tree is not None else "nothing")])
    document = Document(name, text, {})
    budget = [MAX_NODES]
    document.data = _plain(tree, (), document, budget)
    return document


def _plain(node: Any, path: Path_, document: Document, budget: list[int]) -> Any:
    """Plain JSON values of a YAML node; aliases count each time they are expanded, so that none can explode."""
    budget[0] -= 1
    if budget[0] < 0 or len(path) > 50:
        rule = f"expands to more than {MAX_NODES} values or 50 levels: write a smaller file"
        raise SweepFileError(document.name, [Problem("file", rule)])
    tag = getattr(node, "tag", None)
    if tag is not None and tag.value and not str(tag.value).startswith("tag:yaml.org,2002:"):
        raise SweepFileError(document.name, [document.problem(path, "YAML tags are not allowed", str(tag.value))])
    if isinstance(node, CommentedMap):
        return _plain_map(node, path, document, budget)
    if isinstance(node, CommentedSeq):
        for index in range(len(node)):
            document.lines[(*path, index)] = node.lc.item(index)[0] + 1
        return [_plain(item, (*path, index), document, budget) for index, item in enumerate(node)]
    for kind in (bool, int, float, str):
        if isinstance(node, kind):
            return kind(node)
    return None if node is None else str(node)


def _plain_map(node: CommentedMap, path: Path_, document: Document, budget: list[int]) -> dict[str, Any]:
    plain = {}
    for key, value in node.items():
        at = (*path, str(key))
        # a key that came by a merge (<<) has no place of its own
        document.lines[at] = (node.lc.key(key)[0] if key in node.lc.data else node.lc.line) + 1
        if not isinstance(key, str):
            raise SweepFileError(document.name, [document.problem(at, "a key must be a string", key)])
        plain[str(key)] = _plain(value, at, document, budget)
    return plain


def _apply(document: Document, override: str) -> None:
    """Set one field: `axes.heads=[8]`; under axes and constants all that follows is one name."""
    name, equals, text = override.partition("=")
    if not equals or not name.strip():
        raise RequestError(f"-S {override}: an override is path=value, for example -S axes.heads=[8]")
    try:
        loaded = _load_yaml(f"value: {text}\n", "value").data["value"]
    except SweepFileError as error:
        raise RequestError(f"-S {override}: the value {error.problems[0].rule}") from None
    path = _override_path(name.strip())
    target: Any = document.data
    try:
        for part, following in itertools.pairwise(path):
            if isinstance(target, dict) and not isinstance(target.get(part), dict | list):
                target[part] = [] if isinstance(following, int) else {}
            target = target[part]
        target[path[-1]] = loaded
    except (IndexError, KeyError, TypeError):
        raise RequestError(f"-S {override}: there is no {dotted(path)} in {document.name}") from None
    document.overridden.append(path)


def _override_path(name: str) -> Path_:
    head, _, rest = name.partition(".")
    if head in {"axes", "constants"} and rest:
        return head, rest
    parts = re.findall(r"[^.\[\]]+", name)
    return tuple(int(part) if part.isdigit() else part for part in parts)


def _explain_all(document: Document, error: ValidationError) -> list[Problem]:
    """One problem a field: the branches of a union that all refused a value are joined by "or"."""
    problems: dict[str, Problem] = {}
    for item in error.errors():
        problem = _explain(document, item)
        before = problems.get(problem.field)
        if before is not None and problem.rule != before.rule:
            problem = replace(before, rule=f"{before.rule}, or {problem.rule.removeprefix('must be ')}")
        problems[problem.field] = problem
    return sorted(problems.values(), key=lambda problem: problem.line or 0)


def _explain(document: Document, item: Mapping[str, Any]) -> Problem:
    """A Pydantic error in our words: the rule, the value found, the nearest valid name."""
    kind, found = item["type"], item["input"]
    path = _field_path(item["loc"], document.data, missing=kind == "missing")
    if kind == "extra_forbidden":
        siblings = _fields_of(path[:-1])
        return document.problem(path, f"unknown key{suggestion(str(path[-1]), siblings)}")
    if kind == "missing":
        return document.problem(path, "required, and not given", hint=f"add a line `{path[-1]}:`")
    if kind == "value_error":
        return document.problem(path, str(item["ctx"]["error"]))
    rule = (
        re.sub(r"^Input should", "must", item["msg"])
        .replace("Tuple should", "the list must")
        .replace("must be a valid", "must be a")
    )
    return document.problem(path, rule[:1].lower() + rule[1:], found)


def _field_path(loc: Path_, data: Any, missing: bool) -> Path_:
    """The steps of a Pydantic location that are fields of the file; the others name branches of unions."""
    path: list[str | int] = []
    for part in loc:
        inside = part in data if isinstance(data, dict) else isinstance(data, list) and part in range(len(data))
        if inside:
            data = data[part]
            path.append(part)
    return (*path, loc[-1]) if missing else tuple(path)


def _fields_of(path: Path_) -> tuple[str, ...]:
    """The field names of the model at `path`; nothing where the file may choose the names itself."""
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


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models_in(argument)]
