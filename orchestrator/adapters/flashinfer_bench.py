"""flashinfer-bench: a definition in JSON, its workloads in JSONL as cases, solutions in JSON as
implementations.

Written from the schema pages of the FlashInfer Trace documentation: Definition, Workload, Solution.
The params are the definition's variable axes and scalar inputs. Random inputs are normal in the
stated dtype; what is random and an integer has no stated range, and is refused by name, as are
solutions in languages that have to be built.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.adapters.materialised import materialised
from orchestrator.errors import UnknownNameError
from orchestrator.usercode.registry import Target
from orchestrator.usercode.text.file_facts import FileFacts
from orchestrator.usercode.text.signatures import Kind, Parameter
from orchestrator.usercode.workload_file import FileWorkload, workload_of
from orchestrator.workload import Config, Workload

DEFINITION = ("name", "axes", "inputs", "outputs", "reference")
LANGUAGES = ("python", "triton", "pytorch")
FLOATS = ("float64", "float32", "float16", "bfloat16")


class FlashInferBench:
    """The adapter."""

    def workload(self, path: Path) -> FileWorkload:
        """The workload that a definition is.

        Raises:
            UnknownNameError: it is no definition, or has what this adapter does not know; naming
                it.
        """
        definition = _definition(path)
        cases = _cases(path, definition)
        facts = FileFacts(
            tuple(_parameters(path, definition, cases)),
            tuple(definition["inputs"]),
            values={"columns": {name: name for name in _variable(definition)}},
            functions=frozenset(("inputs", "reference")),
        )

        def get(name: str, _config: Config | None) -> Any:
            if name == "definition":
                return definition
            if name == "reference":
                return _named_outputs(
                    _entry({"main.py": definition["reference"]}, "main.py::run"), definition
                )
            return lambda **params: _inputs(definition, params)

        return workload_of(definition["name"], facts, get, cases=cases)

    def build(self, path: Path, workload: Workload) -> Callable[[Config], Any]:
        """Makes the callable that a solution is; a definition answers by its own reference."""
        assert isinstance(workload, FileWorkload)
        data = _json(path)
        if "reference" in data:
            run = _entry({"main.py": data["reference"]}, "main.py::run")
            return lambda _config: _named_outputs(run, data)
        sources = {source["path"]: source["content"] for source in data["sources"]}
        run = _entry(sources, data["spec"]["entry_point"])
        definition = workload.calls.get("definition", None)
        if data["spec"].get("destination_passing_style"):
            return lambda config: _allocating(run, definition, config)
        return lambda _config: _named_outputs(run, definition)

    def check(self, path: Path, workload: Workload) -> str:
        """Why the file is no solution of the workload; empty where it is."""
        try:
            data = _json(path)
        except UnknownNameError as error:
            return str(error)
        if "reference" in data:
            return (
                ""
                if data.get("name") == workload.name
                else f"{path.name} defines {data.get('name')}"
            )
        missing = sorted({"name", "definition", "spec", "sources"} - set(data))
        if missing:
            return f"{path.name} is no solution: it lacks {', '.join(missing)}"
        if data["definition"] != workload.name:
            return f"{path.name} solves {data['definition']}, and the workload is {workload.name}"
        language = str(data["spec"].get("language", "")).lower()
        if language not in LANGUAGES:
            return f"{path.name} is in {language or 'no stated language'}, which has to be built: known are python, triton"
        if data["spec"].get("build_commands"):
            return f"{path.name} states build_commands, which this adapter does not run"
        return ""

    def files(self, path: Path) -> Sequence[Path]:
        """The JSON file, and the workloads of a definition."""
        return [path, *([found] if (found := _workloads_of(path)) else [])]

    def adopted(self, path: Path) -> dict[str, Any] | None:
        """A sweep over a definition, with the solutions of the data set that it lies in."""
        if path.suffix != ".json" or not path.is_file():
            return None
        data = _json(path)
        if not set(DEFINITION) <= set(data):
            return None
        entries: list[dict[str, Any]] = [
            {"use": f"flashinfer-bench:{path.name}", "label": "reference"}
        ]
        root = _root(path)
        for file in sorted((root / "solutions").rglob("*.json")) if root else []:
            solution = _json(file)
            if solution.get("definition") == data["name"]:
                entries.append(
                    {"use": f"flashinfer-bench:{file}", "label": str(solution["name"])[:64]}
                )
        return {
            "workload": f"flashinfer-bench:{path.name}",
            "implementations": entries,
            "baseline": "reference",
        }


def _json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UnknownNameError(f"{path} is no JSON file: {error}") from None
    if not isinstance(data, dict):
        raise UnknownNameError(f"{path} holds no JSON object")
    return data


def _definition(path: Path) -> dict[str, Any]:
    data = _json(path)
    missing = [name for name in DEFINITION if name not in data]
    if missing:
        raise UnknownNameError(f"{path.name} is no definition: it lacks {', '.join(missing)}")
    for name, axis in data["axes"].items():
        if axis.get("type") not in ("const", "var"):
            raise UnknownNameError(
                f"{path.name}: axes.{name} is of type {axis.get('type')!r}; known are const and var"
            )
    for name, tensor in data["inputs"].items():
        for axis in tensor["shape"] or ():
            if axis not in data["axes"]:
                raise UnknownNameError(
                    f"{path.name}: inputs.{name} has the axis {axis!r}, which axes does not name"
                )
    return data


def _variable(definition: Mapping[str, Any]) -> list[str]:
    return [name for name, axis in definition["axes"].items() if axis["type"] == "var"]


def _root(path: Path) -> Path | None:
    """The data set that a definition lies in: the folder that holds `definitions`."""
    for folder in path.parents:
        if folder.name == "definitions":
            return folder.parent
    return None


def _workloads_of(path: Path) -> Path | None:
    """The JSONL file of a definition's workloads: in the data set, or beside it."""
    root = _root(path)
    places = [path.with_suffix(".jsonl")]
    if root is not None:
        places = [*sorted((root / "workloads").rglob(f"{path.stem}.jsonl")), *places]
    return next((place for place in places if place.is_file()), None)


def _cases(path: Path, definition: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each workload as a case: its axes, its scalars, and its uuid as the name."""
    file = _workloads_of(path)
    if file is None:
        return []
    cases = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        data = json.loads(line)
        workload = data.get("workload") or data
        case: dict[str, Any] = {"name": str(workload["uuid"])[:36], **workload["axes"]}
        for name, described in workload["inputs"].items():
            if described["type"] == "scalar":
                case[name] = described["value"]
            elif described["type"] != "random":
                raise UnknownNameError(
                    f"{file.name}:{number}: inputs.{name} is of type {described['type']!r}, which this adapter does "
                    "not read: known are random and scalar"
                )
            elif definition["inputs"][name]["dtype"] not in FLOATS:
                raise UnknownNameError(
                    f"{file.name}:{number}: inputs.{name} is random {definition['inputs'][name]['dtype']}, and the "
                    "format states no range for it: write a workload file, whose inputs draw it"
                )
        cases.append(case)
    return cases


def _parameters(
    path: Path, definition: Mapping[str, Any], cases: Sequence[Mapping[str, Any]]
) -> list[Parameter]:
    found = [Parameter(name, Kind("int", bounds={"ge": 1})) for name in _variable(definition)]
    for name, tensor in definition["inputs"].items():
        if tensor["shape"] is None:
            kind = {"bool": "bool"}.get(
                tensor["dtype"], "float" if "float" in tensor["dtype"] else "int"
            )
            found.append(Parameter(name, Kind(kind)))
        elif not cases and tensor["dtype"] not in FLOATS:
            raise UnknownNameError(
                f"{path.name}: inputs.{name} is {tensor['dtype']}, and no workload says where it comes from"
            )
    return found


def _shape(
    tensor: Mapping[str, Any], definition: Mapping[str, Any], params: Mapping[str, Any]
) -> tuple[int, ...]:
    sizes = {
        name: axis["value"] for name, axis in definition["axes"].items() if axis["type"] == "const"
    }
    known = {**sizes, **params}
    return tuple(int(known[axis]) for axis in tensor["shape"])


def _inputs(definition: Mapping[str, Any], params: Mapping[str, Any]) -> tuple[Any, ...]:
    import torch

    found: list[Any] = []
    for name, tensor in definition["inputs"].items():
        if tensor["shape"] is None:
            found.append(params[name])
        else:
            found.append(
                torch.randn(
                    _shape(tensor, definition, params), dtype=getattr(torch, tensor["dtype"])
                )
            )
    return tuple(found)


def _entry(sources: Mapping[str, str], entry_point: str) -> Callable[..., Any]:
    """The function that `main.py::run` names among these sources."""
    file, _, function = entry_point.partition("::")
    found: Callable[..., Any] = Target(function, file=materialised(sources) / file).load()
    return found


def _named_outputs(run: Callable[..., Any], definition: Mapping[str, Any]) -> Callable[..., Any]:
    """`run`, whose outputs come by name where there are several."""
    names = tuple(definition["outputs"])

    def call(*given: Any) -> Any:
        found = run(**dict(zip(definition["inputs"], given, strict=True)))
        if isinstance(found, tuple | list) and len(names) > 1:
            return dict(zip(names, found, strict=True))
        if isinstance(found, Mapping):
            return found[names[0]] if len(names) == 1 else dict(found)
        return found[0] if isinstance(found, tuple | list) else found

    return call


def _allocating(
    run: Callable[..., Any], definition: Mapping[str, Any], config: Config
) -> Callable[..., Any]:
    """`run`, which writes into outputs that it is given; they are allocated for each call, as part
    of it.
    """
    import torch

    params = {name: getattr(config, name) for name in _variable(definition)}
    shapes = {
        name: _shape(tensor, definition, params) for name, tensor in definition["outputs"].items()
    }
    dtypes = {
        name: getattr(torch, tensor["dtype"]) for name, tensor in definition["outputs"].items()
    }

    def call(*given: Any) -> Any:
        made = {
            name: torch.empty(shape, dtype=dtypes[name], device=config.device)
            for name, shape in shapes.items()
        }
        run(**dict(zip(definition["inputs"], given, strict=True)), **made)
        return next(iter(made.values())) if len(made) == 1 else made

    return call


ADAPTER = FlashInferBench()
