"""A sweep file as plain data in which every value knows its line.

YAML is read event by event and no object is made of it. Depth and size are checked while reading,
so that neither nesting nor aliases can make a small file large.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)
from ruamel.yaml.nodes import ScalarNode

from orchestrator.errors import Problem, SweepFileError

MAX_NODES = 500_000
MAX_DEPTH = 50
MAX_INTEGER = 2**63 - 1
Path_ = tuple[str | int, ...]

_CORE = "tag:yaml.org,2002:"
_MERGE = f"{_CORE}merge"
_SCALARS = {f"{_CORE}{name}": name for name in ("str", "int", "float", "bool", "null", "timestamp")}
_TOO_MUCH = f"expands to more than {MAX_NODES} values or {MAX_DEPTH} levels: write a smaller file"


@dataclass
class Document:
    """A parsed sweep file: plain data, and where each field stands.

    Attributes:
        name: the file's name as the user gave it.
        text: the file's text, kept for the record.
        data: plain JSON values.
        lines: field path -> line, from 1.
        overridden: the paths that -S set.
        case_columns: the axes that are columns of the cases.
        case_places: where each case stands, as file:line.
    """

    name: str
    text: str
    data: dict[str, Any]
    lines: dict[Path_, int] = field(default_factory=dict)
    overridden: list[Path_] = field(default_factory=list)
    case_columns: tuple[str, ...] = ()
    case_places: tuple[str, ...] = ()

    def problem(self, path: Path_, rule: str, found: Any = ..., hint: str | None = None) -> Problem:
        """A broken rule at `path`, with the nearest line known and the value found."""
        shown = None
        if found is not ...:
            shown = shorten(found)
        if len(path) == 3 and path[0] == "axes" and path[1] in self.case_columns:
            place = f"in {self.case_places[int(path[2])]}"
            hint = f"{hint}, {place}" if hint else place
            path = ("cases", path[1])
        if any(path[: len(done)] == done for done in self.overridden):
            hint = f"{hint}; set by -S" if hint else "set by -S"
            return Problem(dotted(path), rule, shown, None, hint)
        return Problem(dotted(path), rule, shown, self._nearest_line(path), hint)

    def _nearest_line(self, path: Path_) -> int | None:
        """The line of the field at `path`; if the file lacks it, of what would hold it."""
        for size in range(len(path), 0, -1):
            if path[:size] in self.lines:
                return self.lines[path[:size]]
        return None

    def refusal(self, path: Path_, rule: str, found: Any = ...) -> SweepFileError:
        """The error for one broken rule."""
        return SweepFileError(self.name, [self.problem(path, rule, found)])


def load(text: str, name: str, fields: str = "name, workload, implementations, axes") -> Document:
    """The document in a YAML text; `name` stands for the file in messages, `fields` are some that
    it may have.

    Raises:
        SweepFileError: it does not parse, is no mapping, states a key twice, or uses what a sweep
            file may not hold.
    """
    reader = _Reader(text, name)
    data = reader.read()
    if not isinstance(data, dict):
        rule = f"must be a mapping of fields such as {fields}"
        found = "nothing" if data is None else kind_of(data)
        raise SweepFileError(name, [Problem("file", rule, found)])
    reader.document.data = data
    return reader.document


def list_of(text: str, name: str) -> tuple[list[Any], list[int]]:
    """The list that a YAML text is, and the line of each item; `name` stands for the file in
    messages.

    Raises:
        SweepFileError: as `load`, or it is no list.
    """
    reader = _Reader(text, name)
    data = reader.read()
    if not isinstance(data, list):
        raise SweepFileError(name, [Problem("file", "must be a list of mappings", kind_of(data))])
    return data, [reader.document.lines[(index,)] for index in range(len(data))]


def value_of(text: str) -> Any:
    """The plain value of a YAML text, as -S states it.

    Raises:
        SweepFileError: as `load`.
    """
    return _Reader(text, "value").read()


def dotted(path: Path_) -> str:
    """('axes', 'heads', 1) -> axes.heads[1]."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".") or "file"


def shorten(value: Any) -> str:
    """`value` as JSON, cut to 80 characters."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else f"{text[:77]}..."


def kind_of(value: Any) -> str:
    """What YAML calls a value of this type."""
    kinds = {
        dict: "a mapping",
        list: "a list",
        str: "a string",
        bool: "a boolean",
        type(None): "null",
    }
    return kinds.get(type(value), "a number")


class _Reader:
    """Turns YAML events into plain values, and records the line of each."""

    def __init__(self, text: str, name: str) -> None:
        self.document = Document(name, text, {})
        self._yaml = YAML(typ="safe", pure=True)
        self._events: Iterator[Any] = iter(self._yaml.parse(text))
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._left = MAX_NODES

    def read(self) -> Any:
        try:
            next(self._events)  # the stream begins
            if isinstance(next(self._events), StreamEndEvent):
                return None
            value = self._value(next(self._events), ())
            assert isinstance(next(self._events), DocumentEndEvent)
            after = next(self._events)
        except MarkedYAMLError as error:
            raise self._unparsed(str(error.problem or error.context), error.problem_mark) from None
        except (YAMLError, ValueError) as error:
            raise self._unparsed(str(error), None) from None
        if not isinstance(after, StreamEndEvent):
            why = "a second document begins: a file holds one sweep"
            raise self._unparsed(why, after.start_mark)
        return value

    def _unparsed(self, why: str, mark: Any) -> SweepFileError:
        line = None if mark is None else mark.line + 1
        one_line = " ".join(why.split())
        return self._refused("file", f"does not parse as YAML: {one_line}", line)

    def _refused(
        self, field: str, rule: str, line: int | None, found: str | None = None
    ) -> SweepFileError:
        """The error for one broken rule, on a line that `document.lines` does not have."""
        return SweepFileError(self.document.name, [Problem(field, rule, found, line)])

    def _value(self, event: Any, path: Path_) -> Any:
        self._left -= 1
        if self._left < 0 or len(path) > MAX_DEPTH:
            raise self._refused("file", _TOO_MUCH, event.start_mark.line + 1)
        if isinstance(event, AliasEvent):
            return self._alias(event, path)
        before = self._left
        value = self._fresh(event, path)
        if event.anchor is not None:
            self._anchors[event.anchor] = value, before - self._left
        return value

    def _alias(self, event: AliasEvent, path: Path_) -> Any:
        """A copy of what the anchor names.

        It counts in full each time, so that aliases of aliases cannot fill the memory.
        """
        if event.anchor not in self._anchors:
            rule = f"there is no anchor {event.anchor!r} above (*{event.anchor})"
            raise self.document.refusal(path, rule)
        value, size = self._anchors[event.anchor]
        self._left -= size
        if self._left < 0:
            raise self._refused("file", _TOO_MUCH, event.start_mark.line + 1)
        return copy.deepcopy(value)

    def _fresh(self, event: Any, path: Path_) -> Any:
        """A value that is written out here: a scalar, a mapping or a list."""
        if isinstance(event, ScalarEvent):
            tag = self._tag(event)
            if tag not in _SCALARS and tag != _MERGE:
                raise self._tagged(tag, path)
            return self._scalar(event, _SCALARS.get(tag, "str"), path)
        is_mapping = isinstance(event, MappingStartEvent)
        assert is_mapping or isinstance(event, SequenceStartEvent)
        plain = f"{_CORE}map" if is_mapping else f"{_CORE}seq"
        if event.tag is not None and str(event.tag) not in ("!", plain):
            raise self._tagged(str(event.tag), path)
        return self._mapping(path) if is_mapping else self._list(path)

    def _tag(self, event: ScalarEvent) -> str:
        """The tag of a scalar: the one written, else the one that YAML gives to such a text."""
        if event.tag:
            return str(event.tag)
        return str(self._yaml.resolver.resolve(ScalarNode, event.value, event.implicit))

    def _tagged(self, tag: str, path: Path_) -> SweepFileError:
        return self.document.refusal(path, "YAML tags are not allowed", tag.replace(_CORE, "!!"))

    def _list(self, path: Path_) -> list[Any]:
        values: list[Any] = []
        while not isinstance(event := next(self._events), SequenceEndEvent):
            at = (*path, len(values))
            self.document.lines[at] = event.start_mark.line + 1
            values.append(self._value(event, at))
        return values

    def _mapping(self, path: Path_) -> dict[str, Any]:
        """A mapping; its own keys win over those merged by `<<`, and earlier merges over later."""
        stated: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        while not isinstance(event := next(self._events), MappingEndEvent):
            key = self._key(event, path)
            if key is None:
                merged = self._merged(self._value(next(self._events), path), path) | merged
                continue
            at = (*path, key)
            line = event.start_mark.line + 1
            if key in stated:
                rule = f"is given twice, first on line {self.document.lines[at]}: keep one"
                raise self._refused(dotted(at), rule, line)
            self.document.lines[at] = line
            stated[key] = self._value(next(self._events), at)
        return merged | stated

    def _key(self, event: Any, path: Path_) -> str | None:
        """The key that an event states; None: the merge key `<<`."""
        line = event.start_mark.line + 1
        if not isinstance(event, ScalarEvent):
            raise self._refused(dotted(path), "a key must be a string", line)
        tag = self._tag(event)
        if tag == _MERGE:
            return None
        if tag != f"{_CORE}str":
            rule = "a key must be a string: put it in quotes"
            raise self._refused(dotted(path), rule, line, event.value or "nothing")
        return self._text(event.value, path)

    def _merged(self, value: Any, path: Path_) -> dict[str, Any]:
        """What `<<: value` states; of several mappings the first wins."""
        parts = value if isinstance(value, list) else [value]
        merged: dict[str, Any] = {}
        for part in reversed(parts):
            if not isinstance(part, dict):
                rule = "<< must be given a mapping, or a list of them"
                raise self.document.refusal(path, rule, value)
            merged |= part
        return merged

    def _scalar(self, event: ScalarEvent, kind: str, path: Path_) -> Any:
        if kind in ("str", "timestamp"):  # JSON has no dates: one stays as it is written
            return self._text(event.value, path)
        if kind == "null":
            return None
        if kind == "bool":
            return event.value.lower() in ("true", "yes", "on", "y")
        node = ScalarNode(f"{_CORE}{kind}", event.value)
        constructor = self._yaml.constructor
        construct = constructor.construct_yaml_float
        if kind == "int":
            construct = constructor.construct_yaml_int
        try:
            value = construct(node)
        except (ValueError, IndexError):
            rule = "is not a number that can be read"
            raise self.document.refusal(path, rule, event.value) from None
        if isinstance(value, int) and abs(value) > MAX_INTEGER:
            raise self.document.refusal(path, "must be an integer of at most 64 bits", event.value)
        if isinstance(value, float) and not math.isfinite(value):
            raise self.document.refusal(path, "must be a finite number", event.value)
        return value

    def _text(self, value: str, path: Path_) -> str:
        """The string, with the surrogate pairs that JSON writes joined."""
        try:
            joined = value.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            rule = "holds half a character (a lone surrogate)"
            raise self.document.refusal(path, rule, ascii(value)) from None
        if any(character < " " and character not in "\n\t" for character in joined):
            raise self.document.refusal(path, "holds a control character", ascii(joined))
        return joined
