"""The params of a workload: their names, their defaults, and values that are derived from others.

Where a number is wanted, a string is arithmetic over the other params. Pure.
"""

from __future__ import annotations

import types
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from orchestrator.errors import ExpressionError
from orchestrator.spec.axes import CASE_NAME
from orchestrator.spec.expression import expression, number
from orchestrator.spec.models import SweepSpec
from orchestrator.workload import Workload


class UnderivableError(ExpressionError):
    """A value cannot be derived; `name` is its param."""

    def __init__(self, name: str, message: str) -> None:
        self.name = name
        super().__init__(message)


def param_names(workload: Workload) -> list[str]:
    """The params that a sweep file may state: all but the device, which the run gives."""
    return [name for name in workload.params.model_fields if name != "device"]


def names_of_a_trial(spec: SweepSpec, workload: Workload) -> list[str]:
    """What a trial has values of besides options: params, and a case's name where there are any."""
    names = param_names(workload)
    if spec.cases is not None:
        names.append(CASE_NAME)
    return names


def param_defaults(workload: Workload) -> dict[str, Any]:
    """Param -> default, of those that have one."""
    found = {}
    for name, info in workload.params.model_fields.items():
        if not info.is_required():
            found[name] = info.get_default(call_default_factory=True)
    return found


def numeric_fields(model: type[BaseModel]) -> frozenset[str]:
    """The fields of a params model that want a number, alone or in a list, and never a string."""
    found = set()
    for name, info in model.model_fields.items():
        kinds = set(_leaves(info.annotation))
        if kinds & {int, float} and str not in kinds:
            found.add(name)
    return frozenset(found)


class Derivation:
    """Derives the same params at many points.

    Points that agree on everything these params read share one result.

    Args:
        names: the params that may be stated as arithmetic.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(names)
        self._known: dict[str, dict[str, Any]] = {}

    def values(self, stated: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
        """As `derive`.

        Raises:
            UnderivableError: as `derive`.
        """
        if not self._names:
            return dict(stated)
        reads = set(self._names)
        for name in self._names:
            reads |= _params_read(stated[name])
        key = repr([stated.get(name) for name in sorted(reads)])
        if key not in self._known:
            values = derive(stated, self._names, defaults)
            self._known[key] = {name: values[name] for name in self._names}
        return {**stated, **self._known[key]}


def derive(
    stated: Mapping[str, Any],
    numeric: frozenset[str],
    defaults: Mapping[str, Any] = types.MappingProxyType({}),
) -> dict[str, Any]:
    """`stated` with a number for every string that stands where a number is wanted.

    A param is derived after those that its expression reads.

    Raises:
        UnderivableError: an expression that fails, or expressions that need each other in a circle.
    """
    values = dict(stated)
    waiting = {name for name in numeric if is_derived(stated.get(name))}
    if not waiting:
        return values
    known = dict(defaults)
    for name, value in values.items():
        if name not in waiting:
            known[name] = value
    while waiting:
        ready = []
        for name in sorted(waiting):
            if not _params_read(stated[name]) & waiting:
                ready.append(name)
        if not ready:
            circle = ", ".join(sorted(waiting))
            need = "needs itself"
            if len(waiting) > 1:
                need = "need each other in a circle"
            raise UnderivableError(min(waiting), f"{circle} {need}: give one of them a number")
        for name in ready:
            values[name] = known[name] = _evaluated(name, stated[name], known)
        waiting.difference_update(ready)
    return values


def is_derived(value: Any) -> bool:
    """Whether a value, or an item of it, is a string."""
    return any(isinstance(item, str) for item in _items(value))


def _evaluated(name: str, value: Any, known: Mapping[str, Any]) -> Any:
    """The value with its strings evaluated over `known`; a list stays a list."""
    items = []
    for item in _items(value):
        if not isinstance(item, str):
            items.append(item)
            continue
        try:
            items.append(number(item, known))
        except ExpressionError as error:
            raise UnderivableError(name, str(error)) from error
    return items if isinstance(value, list) else items[0]


def _items(value: Any) -> list[Any]:
    """The items of a list; any other value is one."""
    return value if isinstance(value, list) else [value]


def _params_read(value: Any) -> set[str]:
    """The params that the strings of a value read."""
    found: set[str] = set()
    for item in _items(value):
        if isinstance(item, str):
            found |= expression(item).names
    return found


def _leaves(annotation: Any) -> Iterator[type]:
    """The scalar types that an annotation admits; a Literal admits the types of its values."""
    origin = get_origin(annotation)
    if origin is Literal:
        for value in get_args(annotation):
            yield type(value)
    elif origin is not None:  # a union, or a container of what it names
        for argument in get_args(annotation):
            yield from _leaves(argument)
    elif isinstance(annotation, type):
        yield annotation
