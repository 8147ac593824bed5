"""Imports a workload file and prints what it states as one line of JSON: `python -m
...text.ask_python FILE`.

For what the text of the file alone does not tell: a type made at run time, a decorator, functions
imported from beside.
"""

from __future__ import annotations

import inspect
import json
import sys
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from orchestrator.usercode.registry import Target
from orchestrator.usercode.text.file_facts import FUNCTIONS, VALUES, FileFacts
from orchestrator.usercode.text.signatures import (
    BOUNDS,
    SCALARS,
    Kind,
    Parameter,
    bounded,
    kind_of_value,
    union,
)


def facts(path: Path) -> FileFacts:
    """What the file states, imported.

    Raises:
        TypeError, ValueError: a type or a value that a workload file may not have.
    """
    inputs = Target("inputs", file=path).load()
    stated: dict[str, Any] = {}
    defined = set[str]()
    for name in (*VALUES, *FUNCTIONS):
        try:
            value = Target(name, file=path).load()
        except Exception:  # noqa: BLE001, S112 - the file need not have it
            continue
        if name in VALUES:
            stated[name] = _plain(name, value)
        else:
            defined.add(name)
    reference = inspect.signature(Target("reference", file=path).load())
    arguments = []
    for name, parameter in reference.parameters.items():
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            arguments.append(f"*{name}")
        elif parameter.kind in (
            inspect.Parameter.POSITIONAL_ONLY,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
        ):
            arguments.append(name)
    has_state = "state" in defined  # else it is the name of an input
    return FileFacts(
        parameters(inputs),
        tuple(name for name in arguments if not (has_state and name == "state")),
        has_state and "state" in reference.parameters,
        stated,
        frozenset(defined),
    )


def parameters(function: Any) -> tuple[Parameter, ...]:
    """The parameters of a function with their types and defaults."""
    hints = typing.get_type_hints(function, include_extras=True)
    found = []
    for name, stated in inspect.signature(function).parameters.items():
        if stated.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
            raise TypeError(
                f"inputs has *{name}: each param of a workload is a parameter of its own"
            )
        required = stated.default is inspect.Parameter.empty
        default = None if required else _plain(name, stated.default)
        kind = None
        if name in hints:
            kind = _kind(name, hints[name])
        elif not required:
            kind = Kind("dtype") if _is_dtype(stated.default) else kind_of_value(default)
        found.append(Parameter(name, kind, required, default))
    return tuple(found)


def _kind(name: str, hint: Any) -> Kind:
    origin, inside = get_origin(hint), get_args(hint)
    if origin is Annotated:
        bounds: dict[str, Any] = {}
        for item in inside[1:]:
            for part in getattr(item, "metadata", None) or [item]:
                for bound in BOUNDS:
                    value = getattr(part, bound, None)
                    if value is not None:
                        bounds[bound] = value
        return bounded(_kind(name, inside[0]), bounds)
    if origin is Literal:
        return Kind("literal", values=tuple(inside))
    if origin in (typing.Union, types.UnionType):
        return union([_kind(name, one) for one in inside])
    if origin in (list, tuple, Sequence):
        return Kind("list", of=(_kind(name, inside[0]),))
    if hint is type(None):
        return Kind("null")
    if isinstance(hint, type):
        if hint.__name__ in SCALARS and hint.__module__ == "builtins":
            return Kind(hint.__name__)
        if hint.__name__ == "dtype" and hint.__module__ == "torch":
            return Kind("dtype")
    raise TypeError(
        f"parameter {name} of inputs is {hint}: a param is int, float, bool, str, torch.dtype, "
        "a Literal, a list of these, or None beside one"
    )


def _is_dtype(value: Any) -> bool:
    return type(value).__name__ == "dtype" and type(value).__module__ == "torch"


def _plain(name: str, value: Any) -> Any:
    """As JSON values: a dtype by its name, tuples as lists."""
    if _is_dtype(value):
        return str(value).removeprefix("torch.")
    if isinstance(value, list | tuple):
        return [_plain(name, item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(name, item) for key, item in value.items()}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if callable(value):
        return True  # a function where a value may stand
    raise TypeError(f"{name} is {value!r}, which is not a plain value")


def main(path: str) -> int:
    """Print the answer."""
    try:
        print(json.dumps(facts(Path(path)).to_json()))  # noqa: T201 - the answer is what it is for
    except (TypeError, ValueError) as error:
        print(json.dumps({"refused": str(error)}))  # noqa: T201
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
