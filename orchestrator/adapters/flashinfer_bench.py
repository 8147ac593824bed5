"""flashinfer-bench: a definition in JSON, its workloads in JSONL as cases, solutions in JSON as
implementations.

Written from the schema pages of the FlashInfer Trace documentation: Definition, Workload, Solution.
The params are the definition's variable axes and scalar inputs. Random inputs are normal in the
stated dtype, recorded ones lie in safetensors files. What is random and an integer has no stated
range, and is refused by name, as are solutions in languages that have to be built.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.adapters.definition import FIELDS, Definition, json_object, read
from orchestrator.adapters.materialised import materialised
from orchestrator.errors import UnknownNameError
from orchestrator.usercode.registry import Target
from orchestrator.usercode.text.file_facts import FileFacts
from orchestrator.usercode.workload_file import FileWorkload, workload_of
from orchestrator.workload import Config, Workload

LANGUAGES = ("python", "triton", "pytorch", "tilelang")


class FlashInferBench:
    """The adapter."""

    def workload(self, path: Path) -> FileWorkload:
        """The workload that a definition is.

        Raises:
            UnknownNameError: it is no definition, or has what this adapter does not know; naming
                it.
        """
        definition = read(path)
        cases = definition.cases()
        facts = FileFacts(
            tuple(definition.parameters(cases)),
            tuple(definition.inputs),
            values={"columns": {name: name for name in definition.variable}},
            functions=frozenset(("inputs", "reference", "unsupported")),
        )

        def get(name: str, _config: Config | None) -> Any:
            if name == "definition":
                return definition
            if name == "reference":
                return _reference(definition)
            if name == "unsupported":
                return lambda **params: definition.unsupported(params)
            return lambda **params: definition.drawn(params)

        return workload_of(
            definition.name,
            facts,
            get,
            cases=cases,
            widens=True,
            out_dtypes=lambda _config: definition.out_dtypes(),
        )

    def build(self, path: Path, workload: Workload) -> Callable[[Config], Any]:
        """Makes the callable that a solution is; a definition answers by its own reference."""
        assert isinstance(workload, FileWorkload)
        data = json_object(path)
        if "reference" in data:
            return lambda _config: _reference(read(path))
        sources = {source["path"]: source["content"] for source in data["sources"]}
        definition: Definition = workload.calls.get("definition", None)

        def build(config: Config) -> Any:
            run = _entry(sources, data["spec"]["entry_point"])
            if _writes_outputs(data, run, definition):
                return _allocating(run, definition, config)
            return _named_outputs(run, definition)

        return build

    def check(self, path: Path, workload: Workload) -> str:
        """Why the file is no solution of the workload; empty where it is."""
        try:
            data = json_object(path)
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
        entry = str(data["spec"].get("entry_point", "")).partition("::")
        if entry[0] not in {source["path"] for source in data["sources"]} or not entry[2]:
            return (
                f"{path.name}: spec.entry_point is {''.join(entry)!r}, and must be a path of "
                "sources, '::' and a function"
            )
        if why := _has_to_be_built(path, data):
            return why
        assert isinstance(workload, FileWorkload)
        scalars = [
            name
            for name, one in workload.calls.get("definition", None).outputs.items()
            if one["shape"] is None
        ]
        if scalars and data["spec"].get("destination_passing_style"):
            return (
                f"{path.name} is in destination passing style, and the output {scalars[0]} is a "
                "number, which nothing can be written into"
            )
        return ""

    def files(self, path: Path) -> Sequence[Path]:
        """The JSON file; of a definition its workloads, too, and what they have recorded."""
        if "reference" not in json_object(path):
            return [path]
        definition = read(path)
        found = {path: None}
        if definition.workloads_file is not None:
            found[definition.workloads_file] = None
        for places in definition.recordings.values():
            found |= {file: None for file, _ in places.values() if file.is_file()}
        return list(found)

    def adopted(self, path: Path) -> dict[str, Any] | None:
        """A sweep over a definition, with the solutions of the data set that it lies in."""
        if path.suffix != ".json" or not path.is_file():
            return None
        data = json_object(path)
        if not set(FIELDS) <= set(data):
            return None
        entries: list[dict[str, Any]] = [
            {"use": f"flashinfer-bench:{path.name}", "label": "reference"}
        ]
        left_out = []
        root = Definition(path, data).root
        for file in sorted((root / "solutions").rglob("*.json")) if root else []:
            solution = json_object(file)
            if solution.get("definition") != data["name"]:
                continue
            if why := _has_to_be_built(file, solution):
                left_out.append(why)
            else:
                entries.append(
                    {"use": f"flashinfer-bench:{file}", "label": str(solution["name"])[:64]}
                )
        return {
            "workload": f"flashinfer-bench:{path.name}",
            "implementations": entries,
            "baseline": "reference",
            "left_out": left_out,
        }


def _has_to_be_built(path: Path, solution: Mapping[str, Any]) -> str:
    """Why nothing here can run the solution; empty: it is Python."""
    spec = solution.get("spec", {})
    language = str(spec.get("language", "")).lower()
    if language not in LANGUAGES:
        return (
            f"{path.name} is in {language or 'no stated language'}, which has to be built: "
            f"known are {', '.join(LANGUAGES)}"
        )
    if spec.get("build_commands"):
        return f"{path.name} states build_commands, which this adapter does not run"
    return ""


def _writes_outputs(
    solution: Mapping[str, Any], run: Callable[..., Any], definition: Definition
) -> bool:
    """Whether outputs are the last arguments of a solution.

    Where it says nothing they are, as the format has it, unless its function takes the inputs alone:
    older solutions say nothing and return.
    """
    stated = solution["spec"].get("destination_passing_style")
    if stated is not None:
        return bool(stated)
    arguments = [None] * (len(definition.inputs) + len(definition.outputs))
    try:
        inspect.signature(run).bind(*arguments)
    except (TypeError, ValueError):
        return False
    return True


def _reference(definition: Definition) -> Callable[..., Any]:
    run = _entry({"main.py": definition.data["reference"]}, "main.py::run")
    return _named_outputs(run, definition)


def _entry(sources: Mapping[str, str], entry_point: str) -> Callable[..., Any]:
    """The function that `main.py::run` names among these sources."""
    file, _, function = entry_point.partition("::")
    found: Callable[..., Any] = Target(function, file=materialised(sources) / file).load()
    return found


def _named_outputs(run: Callable[..., Any], definition: Definition) -> Callable[..., Any]:
    """`run`, whose outputs come by name where there are several."""
    names = tuple(definition.outputs)

    def call(*given: Any) -> Any:
        found = run(*given)
        if isinstance(found, tuple | list) and len(names) > 1:
            return dict(zip(names, found, strict=True))
        if isinstance(found, Mapping):
            return found[names[0]] if len(names) == 1 else dict(found)
        return found[0] if isinstance(found, tuple | list) else found

    return call


def _allocating(
    run: Callable[..., Any], definition: Definition, config: Config
) -> Callable[..., Any]:
    """`run`, which writes into outputs that it is given; they are allocated for each call, as part
    of it.
    """
    import torch

    params = {name: getattr(config, name) for name in definition.variable}
    kinds = {
        name: (definition.shape(tensor, params), getattr(torch, tensor["dtype"]))
        for name, tensor in definition.outputs.items()
    }

    def call(*given: Any) -> Any:
        made = {
            name: torch.empty(shape, dtype=dtype, device=config.device)
            for name, (shape, dtype) in kinds.items()
        }
        run(*given, *made.values())
        return next(iter(made.values())) if len(made) == 1 else made

    return call


ADAPTER = FlashInferBench()
