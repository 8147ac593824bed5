"""A flashinfer-bench definition and its workloads: params, cases, inputs."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from orchestrator.adapters.stated import DefinitionFile, WorkloadLine, check_stated
from orchestrator.errors import ExpressionError, UnknownNameError, suggestion
from orchestrator.spec.expression import condition
from orchestrator.usercode import recorded
from orchestrator.usercode.text import signatures
from orchestrator.usercode.text.signatures import Kind, Parameter

FIELDS = ("name", "axes", "inputs", "outputs", "reference")
FLOATS = ("float64", "float32", "float16", "bfloat16")
SMALL_FLOATS = ("float8_e4m3fn", "float8_e5m2")
WHOLE = ("int64", "int32", "int16", "int8")
GUESSED_SIZE = 64
LARGEST_SMALL = 2.0  # of random values in eight bits
RECORDING = "recording"  # the param that tells which workload's recorded inputs are meant


@dataclass(frozen=True)
class Definition:
    """What one file of definitions states.

    Attributes:
        path: the file.
        data: its content.
    """

    path: Path
    data: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The definition's own name."""
        return str(self.data["name"])

    @property
    def inputs(self) -> Mapping[str, Any]:
        """Name -> shape and dtype, in the order of the arguments."""
        found: Mapping[str, Any] = self.data["inputs"]
        return found

    @property
    def outputs(self) -> Mapping[str, Any]:
        """Name -> shape and dtype, in order."""
        found: Mapping[str, Any] = self.data["outputs"]
        return found

    @property
    def variable(self) -> list[str]:
        """The axes that workloads bind."""
        return [name for name, axis in self.data["axes"].items() if axis["type"] == "var"]

    @property
    def sizes(self) -> dict[str, int]:
        """The axes that are constant."""
        axes = self.data["axes"].items()
        return {name: axis["value"] for name, axis in axes if axis["type"] == "const"}

    @property
    def root(self) -> Path | None:
        """The data set that it lies in: the folder that holds `definitions`."""
        for folder in self.path.parents:
            if folder.name == "definitions":
                return folder.parent
        return None

    @property
    def workloads_file(self) -> Path | None:
        """The JSONL file of its workloads: in the data set, or beside it."""
        places = [self.path.with_suffix(".jsonl")]
        if self.root is not None:
            named = sorted((self.root / "workloads").rglob(f"{self.path.stem}.jsonl"))
            places = [*named, *places]
        return next((place for place in places if place.is_file()), None)

    @cached_property
    def recordings(self) -> dict[str, dict[str, tuple[Path, str]]]:
        """Uuid of a workload -> name of an input -> its safetensors file and its name there."""
        found: dict[str, dict[str, tuple[Path, str]]] = {}
        for _, workload in self._workloads():
            for name, described in workload["inputs"].items():
                if described["type"] == "safetensors":
                    folder = self.root or self.path.parent
                    place = folder / described["path"], described["tensor_key"]
                    found.setdefault(str(workload["uuid"]), {})[name] = place
        return found

    def shape(self, tensor: Mapping[str, Any], params: Mapping[str, Any]) -> tuple[int, ...]:
        """The sizes of a tensor at these params."""
        known = {**self.sizes, **params}
        return tuple(int(known[axis]) for axis in tensor["shape"])

    def cases(self) -> list[dict[str, Any]]:
        """Each workload as a case: its axes, its scalars, and its uuid as the name.

        Raises:
            UnknownNameError: an input comes from where this adapter cannot read it.
        """
        cases = []
        for where, workload in self._workloads():
            uuid = str(workload["uuid"])
            name = {RECORDING: uuid} if self.recordings else {"name": uuid[:36]}
            case: dict[str, Any] = {**name, **workload["axes"]}
            for input_name, tensor in self.inputs.items():
                described = workload["inputs"].get(input_name, {"type": "random"})
                place = f"{where}: inputs.{input_name}"
                if described["type"] == "scalar":
                    case[input_name] = described["value"]
                elif described["type"] == "safetensors":
                    file, _ = self.recordings[uuid][input_name]
                    if not file.is_file():
                        raise UnknownNameError(f"{place} lies in {file}, which does not exist")
                elif described["type"] != "random":
                    raise UnknownNameError(
                        f"{place} is of type {described['type']!r}, which this adapter does not "
                        "read: known are random, scalar and safetensors"
                    )
                elif tensor["shape"] is None or tensor["dtype"] in WHOLE:
                    raise UnknownNameError(
                        f"{place} is random {tensor['dtype']}, and the format states no range for "
                        "it: write a workload file, whose inputs draw it"
                    )
            missing = [name for name in self.variable if name not in workload["axes"]]
            if missing:
                raise UnknownNameError(f"{where}: axes.{missing[0]}: required, and not given")
            cases.append(case)
        return cases

    def parameters(self, cases: Sequence[Mapping[str, Any]]) -> list[Parameter]:
        """The variable axes, the scalars, and which recording.

        Raises:
            UnknownNameError: there are no cases, and nothing says where an input comes from.
        """
        found = [Parameter(name, Kind("int", bounds={"ge": 1})) for name in self.variable]
        for name, tensor in self.inputs.items():
            if tensor["shape"] is None:
                found.append(Parameter(name, Kind(_scalar(tensor["dtype"]))))
            elif not cases and tensor["dtype"] in WHOLE:
                raise UnknownNameError(
                    f"{self.path.name}: inputs.{name} is {tensor['dtype']}, and no workload says "
                    "where it comes from"
                )
        if self.recordings:
            uuids = tuple(str(case[RECORDING]) for case in cases)
            found.append(Parameter(RECORDING, Kind("literal", values=uuids)))
        return found

    def guessed(self) -> dict[str, list[Any]]:
        """Values for the params where no workload states any, to begin with."""
        found: dict[str, list[Any]] = {name: [GUESSED_SIZE] for name in self.variable}
        for name, tensor in self.inputs.items():
            if tensor["shape"] is None:
                found[name] = [True if tensor["dtype"] == "bool" else 1]
        return found

    def drawn(self, params: Mapping[str, Any]) -> tuple[Any, ...]:
        """The inputs at these params: recorded, scalar, or random."""
        import torch

        places = self.recordings.get(str(params.get(RECORDING)), {})
        found: list[Any] = []
        for name, tensor in self.inputs.items():
            if tensor["shape"] is None:
                found.append(params[name])
                continue
            shape, dtype = self.shape(tensor, params), getattr(torch, tensor["dtype"])
            if name in places:
                found.append(recorded.tensor(*places[name], shape, dtype))
            elif tensor["dtype"] == "bool":
                found.append(torch.rand(shape) < 0.5)
            elif tensor["dtype"] in SMALL_FLOATS:
                values = torch.randn(shape).clamp(-LARGEST_SMALL, LARGEST_SMALL)
                found.append(values.to(dtype))
            else:
                found.append(torch.randn(shape, dtype=dtype))
        return tuple(found)

    def unsupported(self, params: Mapping[str, Any]) -> str | None:
        """Which constraint does not hold at these params; those on inputs' values are not asked."""
        known = {**self.sizes, **params}
        for text in self.data.get("constraints") or ():
            try:
                holds = condition(text, known)
            except ExpressionError:
                continue
            if not holds:
                return f"the constraint {text} of {self.name} does not hold"
        return None

    def out_dtypes(self) -> dict[str, tuple[Any, ...]]:
        """The dtype of each output, by the name that verification knows it by."""
        import torch

        named = {name: (getattr(torch, one["dtype"]),) for name, one in self.outputs.items()}
        return {"output": next(iter(named.values()))} if len(named) == 1 else named

    def _workloads(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Where each workload stands, and the workload."""
        file = self.workloads_file
        if file is None:
            return
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
            if not line.strip():
                continue
            where = f"{file.name}:{number}"
            try:
                data = json.loads(line)
                workload = data.get("workload") or data
            except (ValueError, AttributeError, TypeError) as error:
                raise UnknownNameError(f"{where} is no workload in JSON: {error}") from None
            check_stated(WorkloadLine, workload, where)
            yield where, workload


def read(path: Path) -> Definition:
    """The definition in a file.

    Raises:
        UnknownNameError: it is none, or has what this adapter does not know; naming it.
    """
    data = json_object(path)
    missing = [name for name in FIELDS if name not in data]
    if missing:
        raise UnknownNameError(f"{path.name} is no definition: it lacks {', '.join(missing)}")
    check_stated(DefinitionFile, data, path.name)
    if data.get("op_type") == "sampling":
        raise UnknownNameError(
            f"{path.name}: op_type is sampling, whose answers are drawn at random: write a "
            "workload file with a judge of the draws"
        )
    try:
        why = lacks(data["reference"], "the text", "run")
    except SyntaxError as error:
        why = f"does not parse as Python on its line {error.lineno}: {error.msg}"
    if why:
        raise UnknownNameError(f"{path.name}: reference: {why}")
    for part in ("inputs", "outputs"):
        for name, tensor in data[part].items():
            _check_tensor(f"{path.name}: {part}.{name}", tensor, data["axes"])
    return Definition(path, data)


def lacks(text: str, file: str, function: str) -> str:
    """That a Python text defines no such function; empty where it does.

    Raises:
        SyntaxError: it does not parse.
    """
    try:
        known = signatures.names(ast.parse(text))
    except (ValueError, RecursionError, MemoryError) as error:
        raise SyntaxError(str(error)) from None
    if function in known or "*" in known:  # the star may bring it
        return ""
    return f"{file} defines no {function}{suggestion(function, known)}"


def json_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        UnknownNameError: there is none.
    """
    if path.is_dir():
        raise UnknownNameError(f"{path} is a folder: name a JSON file in it")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UnknownNameError(f"{path} is no JSON file: {error}") from None
    if not isinstance(data, dict):
        raise UnknownNameError(f"{path} holds no JSON object")
    return data


def _check_tensor(where: str, tensor: Mapping[str, Any], axes: Mapping[str, Any]) -> None:
    known = (*FLOATS, *SMALL_FLOATS, *WHOLE, "bool")
    if tensor["dtype"] not in known:
        raise UnknownNameError(
            f"{where} is {tensor['dtype']}, which this adapter does not know: known are "
            f"{', '.join(known)}"
        )
    for axis in tensor["shape"] or ():
        if axis not in axes:
            raise UnknownNameError(f"{where} has the axis {axis!r}, which axes does not name")


def _scalar(dtype: str) -> str:
    if dtype == "bool":
        return "bool"
    return "float" if "float" in dtype else "int"
