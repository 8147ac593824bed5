"""What the files of other benchmarks must state, and a sentence on what one of them states wrongly.

Keys that are not named here are the formats' own business: they are read past.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from orchestrator.errors import UnknownNameError
from orchestrator.spec.document import dotted, shorten
from orchestrator.spec.loading import worded


class _Stated(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")


class _Axis(_Stated):
    type: Literal["const", "var"]
    value: int | None = Field(None, ge=0)

    @model_validator(mode="after")
    def _has_value(self) -> _Axis:
        if self.type == "const" and self.value is None:
            raise ValueError("an axis of type const must have a value")
        return self


class _Tensor(_Stated):
    shape: list[str] | None
    dtype: str


class DefinitionFile(_Stated):
    """A definition of flashinfer-bench."""

    name: str
    op_type: str = ""
    axes: dict[str, _Axis]
    inputs: dict[str, _Tensor]
    outputs: dict[str, _Tensor] = Field(min_length=1)
    reference: str
    constraints: list[str] | None = None


class _Input(_Stated):
    type: str
    path: str | None = None
    tensor_key: str | None = None

    @model_validator(mode="after")
    def _says_where(self) -> _Input:
        if self.type == "safetensors" and (self.path is None or self.tensor_key is None):
            raise ValueError("an input of type safetensors must have a path and a tensor_key")
        return self


class WorkloadLine(_Stated):
    """A workload of flashinfer-bench."""

    uuid: str | int
    axes: dict[str, int]
    inputs: dict[str, _Input]


class _Source(_Stated):
    path: str
    content: str


class _Spec(_Stated):
    language: str = ""
    entry_point: str
    destination_passing_style: bool | None = None


class SolutionFile(_Stated):
    """A solution of flashinfer-bench."""

    name: str
    definition: str
    spec: _Spec
    sources: list[_Source]


class _File(_Stated):
    name: str
    source: str


class TaskFile(_Stated):
    """A task.yml of GPU MODE."""

    lang: str = "py"
    multi_gpu: bool = False
    files: list[_File] = []
    tests: list[dict[str, Any]] | None = None
    benchmarks: list[dict[str, Any]] | None = None


def check_stated(kind: type[BaseModel], data: Mapping[str, Any], where: object) -> None:
    """Whether a file's content is of this kind.

    Raises:
        UnknownNameError: it is not: `where`, field, rule, value found.
    """
    try:
        kind.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        field = dotted(tuple(part for part in first["loc"] if not str(part).startswith("function")))
        if first["type"] == "missing":
            said = "required, and not given"
        elif first["type"] == "value_error":
            said = str(first["ctx"]["error"])
        else:
            said = f"{worded(first['msg'])}, found {shorten(first['input'])}"
        raise UnknownNameError(f"{where}: {field}: {said}") from None
