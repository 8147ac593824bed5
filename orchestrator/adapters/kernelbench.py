"""KernelBench: a folder of files with `Model`, `get_inputs` and `get_init_inputs`; answers are
files with `ModelNew`.

The format is that of the KernelBench repository's README: `Model(*get_init_inputs())` is the
reference, called with
`get_inputs()`; an answer is a file that defines `ModelNew`, made and called alike. Here each file is a value of the
param `problem`; the weights of `Model` are drawn from the trial's seed and loaded into `ModelNew`,
whose parameters have the same names.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.errors import UnknownNameError
from orchestrator.usercode.registry import Target
from orchestrator.usercode.text import signatures
from orchestrator.usercode.text.file_facts import FileFacts, parsed
from orchestrator.usercode.text.signatures import Kind, Parameter
from orchestrator.usercode.workload_file import FileWorkload, workload_of
from orchestrator.workload import Config, Workload

NEEDED = ("Model", "get_inputs", "get_init_inputs")
ANSWER = "ModelNew"
DTYPES = ("float32", "float16", "bfloat16", "float64")


class KernelBench:
    """The adapter."""

    def workload(self, path: Path) -> FileWorkload:
        """One workload, with a param `problem` for the files of the folder.

        Raises:
            UnknownNameError: the folder holds no such files, or a file with `Model` lacks what the
                format asks for.
        """
        found = _problems(path)
        if not found:
            raise UnknownNameError(
                f"{path} holds no KernelBench problems: Python files with {', '.join(NEEDED)}"
            )
        for name, file in found.items():
            missing = sorted(set(NEEDED) - _top(parsed(file)))
            if missing:
                raise UnknownNameError(
                    f"{file.name} defines no {' and no '.join(missing)}: {name} is no whole problem"
                )
        facts = FileFacts(
            (
                Parameter("problem", Kind("literal", values=tuple(found))),
                Parameter("dtype", Kind("dtype"), required=False, default="float32"),
            ),
            ("*inputs",),
            takes_state=True,
            values={"columns": {"problem": "Problem"}},
            functions=frozenset(("inputs", "reference", "state")),
        )

        def get(name: str, config: Config | None) -> Callable[..., Any]:
            assert config is not None
            return _function(found[config.problem], name, config)

        return workload_of("kernelbench", facts, get, cases=[{"problem": name} for name in found])

    def build(self, path: Path, workload: Workload) -> Callable[[Config], Any]:
        """Makes the answer to the trial's problem that lies in the folder; a folder of problems
        answers by `Model`.
        """

        def build(config: Config) -> Any:
            file = _problems(path).get(config.problem)
            if file is None:
                raise NotImplementedError(f"{path.name} has no answer to {config.problem}")
            assert isinstance(workload, FileWorkload)
            made = workload.calls.get("init_inputs", config)()
            kind = ANSWER if ANSWER in _top(parsed(file)) else "Model"
            return Target(kind, file=file).load()(*made).to(config.device, config.dtype)

        return build

    def check(self, path: Path, workload: Workload) -> str:
        """Why the folder answers none of the workload's problems; empty where it answers some."""
        wanted = [one["problem"] for one in getattr(workload, "cases", ()) if "problem" in one]
        if not wanted:
            return f"a KernelBench answer is for a KernelBench workload, and this one is {workload.name}"
        if set(wanted) & set(_problems(path)):
            return ""
        return f"{path} has a file with {ANSWER} for none of the problems ({', '.join(wanted[:3])}, ...)"

    def files(self, path: Path) -> Sequence[Path]:
        """The files of the folder."""
        return [path] if path.is_file() else sorted(path.glob("*.py"))

    def adopted(self, path: Path) -> dict[str, Any] | None:
        """A sweep over the problems of the folder; answers are its subfolders with files of the
        same names.
        """
        if not path.is_dir():
            return None
        found = [file for file in _problems(path).values() if set(NEEDED) <= _top(parsed(file))]
        if not found:
            return None
        names = {file.stem for file in found}
        entries: list[dict[str, Any]] = [{"use": "kernelbench:.", "label": "torch"}]
        entries.append({"use": "kernelbench:.", "label": "torch-compiled", "compile": True})
        for folder in sorted(entry for entry in path.iterdir() if entry.is_dir()):
            answers = {file.stem for file in folder.glob("*.py") if ANSWER in _top(parsed(file))}
            if answers & names:
                entries.append({"use": f"kernelbench:{folder.name}", "label": folder.name})
        return {"workload": "kernelbench:.", "implementations": entries, "baseline": "torch"}


def _problems(path: Path) -> dict[str, Path]:
    """The Python files of a folder that define Model or ModelNew, by name."""
    files = [path] if path.is_file() else sorted(path.glob("*.py"))
    return {file.stem: file for file in files if {"Model", ANSWER} & _top(parsed(file))}


def _top(tree: ast.Module) -> set[str]:
    return {*signatures.functions(tree), *signatures.classes(tree), *signatures.values(tree)}


def _function(file: Path, name: str, config: Config) -> Callable[..., Any]:
    """The workload's function of that name, made of what the problem's file defines."""
    import torch

    def load(attribute: str) -> Any:
        return Target(attribute, file=file).load()

    def cast(value: Any) -> Any:
        return (
            value.to(config.dtype)
            if isinstance(value, torch.Tensor) and value.is_floating_point()
            else value
        )

    def inputs(**_params: Any) -> tuple[Any, ...]:
        return tuple(cast(value) for value in load("get_inputs")())

    def state(**_params: Any) -> dict[str, torch.Tensor]:
        model = load("Model")(*load("get_init_inputs")())
        return {key: cast(value) for key, value in model.state_dict().items()}

    def reference(*given: Any, state: Mapping[str, torch.Tensor]) -> Any:
        floating = [value.dtype for value in (*given, *state.values()) if _is_floating(value)]
        model = load("Model")(*load("get_init_inputs")())
        model = model.to(floating[0] if floating else config.dtype)
        model.load_state_dict(state)
        return model(*given)

    if name == "init_inputs":
        found: Callable[..., Any] = load("get_init_inputs")
        return found
    functions: dict[str, Callable[..., Any]] = {
        "inputs": inputs,
        "state": state,
        "reference": reference,
    }
    return functions[name]


def _is_floating(value: Any) -> bool:
    import torch

    return isinstance(value, torch.Tensor) and value.is_floating_point()


ADAPTER = KernelBench()
