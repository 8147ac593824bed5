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

from orchestrator.adapters.definition import Definition, json_object, lacks, read
from orchestrator.adapters.materialised import materialised
from orchestrator.adapters.origin import origin
from orchestrator.adapters.stated import SolutionFile, check_stated
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
            if "reference" in data:
                is_same = data.get("name") == workload.name
                return "" if is_same else f"{path.name} defines {data.get('name')}"
            check_stated(SolutionFile, data, path.name)
        except UnknownNameError as error:
            return str(error)
        definition = origin(workload, "definition", Definition)
        if definition is None or data["definition"] != definition.name:
            return f"{path.name} solves {data['definition']}, and the workload is {workload.name}"
        if why := _has_to_be_built(path, data):
            return why
        if why := _is_nowhere(data):
            return f"{path.name}: spec.entry_point: {why}, found {data['spec']['entry_point']!r}"
        scalars = [name for name, one in definition.outputs.items() if one["shape"] is None]
        if scalars and data["spec"].get("destination_passing_style"):
            return f"{path.name} {_into_a_number(scalars[0])}"
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
        if not {"axes", "inputs", "outputs"} & set(data):
            return None  # JSON of another kind
        entries: list[dict[str, Any]] = [
            {"use": f"flashinfer-bench:{path.name}", "label": "reference"}
        ]
        workload = self.workload(path)
        definition = origin(workload, "definition", Definition)
        assert definition is not None
        left_out = []
        for file in (
            sorted((definition.root / "solutions").rglob("*.json")) if definition.root else []
        ):
            try:
                solution = json_object(file)
            except UnknownNameError as error:
                left_out.append(str(error))
                continue
            if solution.get("definition") != definition.name:
                continue
            if why := self.check(file, workload):
                left_out.append(why)
            else:
                entries.append({"use": f"flashinfer-bench:{file}", "label": solution["name"]})
        sweep = {
            "workload": f"flashinfer-bench:{path.name}",
            "implementations": entries,
            "baseline": "reference",
            "left_out": left_out,
        }
        if workload.cases:
            return sweep
        left_out.append("its workloads: there are none, and the axes of the sweep are a guess")
        return {**sweep, "axes": definition.guessed()}


def _is_nowhere(solution: Mapping[str, Any]) -> str:
    """Why the entry point of a solution is not among its sources; empty where it is."""
    file, _, function = solution["spec"]["entry_point"].partition("::")
    texts = {source["path"]: source["content"] for source in solution["sources"]}
    if file not in texts or not function:
        return "must be a path of sources, '::' and a function"
    try:
        return lacks(texts[file], file, function)
    except SyntaxError:
        return ""  # its rows say so


def _into_a_number(output: str) -> str:
    return (
        f"is in destination passing style, and the output {output} is a number, which nothing can "
        "be written into: state destination_passing_style: false, and return it"
    )


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

    Where it says nothing they are, as the format has it, unless its function takes the inputs
    alone: older solutions say nothing and return.
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

    scalars = [name for name, one in definition.outputs.items() if one["shape"] is None]
    if scalars:
        raise TypeError(f"the solution {_into_a_number(scalars[0])}")
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
