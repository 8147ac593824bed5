"""The Pydantic model of a workload file's params, made of the parameters of its `inputs`."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, create_model

from orchestrator.errors import suggestion
from orchestrator.usercode.text.signatures import Kind, Parameter

# Every dtype of torch by name: the model is made where torch is not imported
DTYPES = (
    "float64", "double", "float32", "float", "float16", "half", "bfloat16",
    "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu",
    "float4_e2m1fn_x2",
    "complex32", "complex64", "complex128",
    "bool", "uint8", "uint16", "uint32", "uint64",
    "int8", "int16", "int32", "int64", "short", "int", "long",
)  # fmt: skip
_ALIASES = {
    "double": "float64",
    "float": "float32",
    "half": "float16",
    "short": "int16",
    "int": "int32",
}
_ALIASES["long"] = "int64"


class Params(BaseModel):
    """The base of every such model: frozen, strict, and without unknown params."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, protected_namespaces=())


def dtype_name(text: str) -> str:
    """The name of a dtype of torch: `torch.half` -> float16.

    Raises:
        ValueError: torch has no such dtype.
    """
    name = text.removeprefix("torch.")
    if name not in DTYPES:
        raise ValueError(f"torch has no dtype {text!r}{suggestion(name, DTYPES)}")
    return _ALIASES.get(name, name)


def params_model(name: str, parameters: Iterable[Parameter]) -> type[BaseModel]:
    """A frozen model with one field for each parameter.

    Raises:
        ValueError: a parameter has neither a type nor a default, or its default breaks its own
            bounds.
    """
    fields: dict[str, Any] = {}
    for parameter in parameters:
        if parameter.kind is None:
            raise ValueError(
                f"{parameter.name} has neither a type nor a default: "
                f"write {parameter.name}: int, or the type it has"
            )
        default = parameter.default
        if "dtype" in _names(parameter.kind) and isinstance(default, str):
            default = dtype_name(default)
        fields[parameter.name] = (
            annotation(parameter.kind),
            ... if parameter.required else default,
        )
    return create_model(name, __base__=Params, **fields)


def annotation(kind: Kind) -> Any:
    """The type that Pydantic checks for a kind."""
    made = _plain(kind)
    if not kind.bounds:
        return made
    return Annotated[made, Field(**kind.bounds)]


def _plain(kind: Kind) -> Any:
    if kind.name == "dtype":
        return Annotated[str, AfterValidator(dtype_name)]
    if kind.name == "literal":
        return Literal[kind.values]
    if kind.name == "list":
        return list.__class_getitem__(annotation(kind.of[0]))
    if kind.name == "union":
        return functools.reduce(operator.or_, [annotation(one) for one in kind.of])
    return {"int": int, "float": float, "bool": bool, "str": str, "null": type(None)}[kind.name]


def dtype_params(parameters: Iterable[Parameter]) -> frozenset[str]:
    """The parameters that take a dtype."""
    return frozenset(
        one.name for one in parameters if one.kind is not None and "dtype" in _names(one.kind)
    )


def _names(kind: Kind) -> set[str]:
    found = {kind.name}
    for one in kind.of:
        found |= _names(one)
    return found
