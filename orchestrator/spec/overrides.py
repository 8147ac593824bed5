"""`-S path=value`: one field of a sweep file set from the command line."""

from __future__ import annotations

import itertools
import re
from typing import Any

from orchestrator.errors import RequestError, SweepFileError
from orchestrator.spec import document
from orchestrator.spec.document import Document, Path_, dotted

# `axes.heads[1]`; and where a file chooses the names itself, all that follows is one: it may have
# dots (`axes.options.block_m`).
_NAME = r"[^.\[\]\s]+"
_PATH = re.compile(rf"{_NAME}(?:\.{_NAME}|\[\d{{1,6}}\])*")
_STEP = re.compile(rf"\[(\d+)\]|({_NAME})")
_FREE = re.compile(
    r"(axes|constants|implementations\[\d{1,6}\]\.(?:params|options))\.([^\[\]]+)((?:\[\d{1,6}\])*)"
)


def apply(target: Document, override: str) -> None:
    """Set one field: `axes.heads=[8]`, `measure.repeats=3`,
    `implementations[0].options.block_m=64`.

    Under axes, constants, and an entry's params and options all that follows is one name
    (axes.options.block_m). An entry that is a mere name becomes a mapping with that `use`.

    Raises:
        RequestError: the override is not path=value, or there is no such place in the file.
    """
    name, equals, text = override.partition("=")
    path = _path(name.strip())
    if not equals or not path:
        raise RequestError(
            f"-S {override}: an override is path=value, for example -S axes.heads=[8]"
        )
    try:
        value = document.value_of(text)
    except SweepFileError as error:
        raise RequestError(f"-S {override}: the value {error.problems[0].rule}") from None
    if not _set(target.data, path, value):
        raise RequestError(f"-S {override}: there is no {dotted(path)} in {target.name}")
    target.overridden.append(path)


def _set(data: dict[str, Any], path: Path_, value: Any) -> bool:
    """Set data[path], making the mappings on the way; False: a list has no such element."""
    at: Any = data
    part: Any
    for index, (part, following) in enumerate(itertools.pairwise(path)):
        if not _has_place(at, part):
            return False
        inside = at.get(part) if isinstance(at, dict) else at[part]
        if isinstance(inside, str) and index == 1 and path[0] == "implementations":
            inside = at[part] = {"use": inside}
        elif inside is None:
            inside = at[part] = {}
        wanted = list if isinstance(following, int) else dict
        if not isinstance(inside, wanted):
            return False
        at = inside
    if not _has_place(at, path[-1]):
        return False
    at[path[-1]] = value
    return True


def _has_place(at: Any, part: str | int) -> bool:
    """Whether `part` can be set in `at`: any key of a mapping, an element that a list has."""
    if isinstance(at, dict):
        return isinstance(part, str)
    return isinstance(part, int) and part < len(at)


def _path(name: str) -> Path_:
    """The steps of a dotted path; () for what is none."""
    free = _FREE.fullmatch(name)
    if free is None:
        return _steps(name)
    before, param, indexes = free.groups()
    return (*_steps(before), param.strip(), *map(int, re.findall(r"\d+", indexes)))


def _steps(name: str) -> Path_:
    """('measure', 'repeats') of measure.repeats; an index is an integer."""
    if not _PATH.fullmatch(name):
        return ()
    path: list[str | int] = []
    for index, part in _STEP.findall(name):
        path.append(int(index) if index else part)
    return tuple(path)
