"""GPU MODE: a task folder with task.yml and reference.py; submissions are files with
`custom_kernel`.

Written from the format's README and its task files: `generate_input(seed=..., **case)` draws what
`custom_kernel` and `ref_kernel` are given; `benchmarks` of task.yml are the cases. Answers are held
against `ref_kernel` by the rule of verification. A task's own `check_implementation` is the judge
where it never asks `ref_kernel`: it then tests what a right answer is like, since there are
several.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from orchestrator.adapters.folders import below
from orchestrator.adapters.materialised import materialised
from orchestrator.adapters.origin import origin
from orchestrator.adapters.stated import TaskFile, check_stated
from orchestrator.adapters.task_data import TaskData
from orchestrator.errors import SweepFileError, UnknownNameError, suggestion
from orchestrator.spec import document as documents
from orchestrator.usercode.registry import Target
from orchestrator.usercode.text import signatures
from orchestrator.usercode.text.file_facts import FileFacts, parsed
from orchestrator.usercode.text.signatures import Kind, NotInTextError, Parameter, kind_of_value
from orchestrator.usercode.workload_file import FileWorkload, workload_of
from orchestrator.workload import Config, Workload

TASK = "task.yml"
SUBMISSION = "@SUBMISSION@"
NEEDED = ("generate_input", "ref_kernel")
CHECK = "check_implementation"


class GpuMode:
    """The adapter."""

    def workload(self, path: Path) -> FileWorkload:
        """The workload that a task is.

        Raises:
            UnknownNameError: it is no task, or has what this adapter does not know; naming it.
        """
        task = _task(path)
        tree = parsed(_reference(path, task))
        cases = _cases(path, task, tree)
        functions = {"inputs", "reference"}
        if _tests_properties(tree):
            functions.add("judge")
        facts = FileFacts(
            tuple(_parameters(path, cases, tree)),
            ("data",),
            values={"columns": {name: name for name in cases[0] if name != "name"}},
            functions=frozenset(functions),
        )
        taken, takes_any = _arguments(tree)
        data = TaskData(
            lambda name: _load(path, task, "reference.py", name),
            takes_seed=takes_any or "seed" in taken,
        )
        made: dict[str, Any] = {
            "inputs": data.inputs,
            "reference": data.reference,
            "judge": data.judge,
            "task": path,
        }

        def get(name: str, _config: Config | None) -> Any:
            if name == "inputs":  # imported here, not while inputs are drawn
                _load(path, task, "reference.py", "generate_input")
            return made[name]

        return workload_of(
            path.name,
            facts,
            get,
            cases=cases,
            finds_writes=True,
            widens=True,
            out_dtypes=lambda _config: data.out_dtypes,
        )

    def build(self, path: Path, _workload: Workload) -> Callable[[Config], Any]:
        """Makes the `custom_kernel` of a submission; a task's folder answers by its reference."""

        def build(_config: Config) -> Any:
            if path.is_dir():
                return _load(path, _task(path), "reference.py", "ref_kernel")
            folder = _folder_of(path)
            return _load(folder, _task(folder), "submission.py", "custom_kernel", path)

        return build

    def check(self, path: Path, workload: Workload) -> str:
        """Why the file is no submission to the task; empty where it is."""
        try:
            task = path if path.is_dir() else _folder_of(path)
            _task(task)
            names = set() if path.is_dir() else signatures.names(parsed(path))
        except UnknownNameError as error:
            return str(error)
        if origin(workload, "task", Path) != task:
            return f"{path.name} is of the task {task.name}, and the workload is {workload.name}"
        if path.is_file() and "custom_kernel" not in names:
            return f"{path.name} defines no custom_kernel"
        return ""

    def files(self, path: Path) -> Sequence[Path]:
        """The files of the task, and the submission."""
        folder = path if path.is_dir() else _folder_of(path)
        task = _task(folder)
        found = [folder / TASK]
        found += [folder / source for source in _sources(task).values() if source != SUBMISSION]
        found.append(path)
        return [file for file in found if file.is_file()]

    def adopted(self, path: Path) -> dict[str, Any] | None:
        """A sweep over a task, named by its folder or its task.yml, with every submission in its
        folder.
        """
        if path.name == TASK:
            path = path.parent
        if not (path / TASK).is_file():
            return None
        self.workload(path)  # what it has that is not known is said here
        entries: list[dict[str, Any]] = [{"use": "gpu-mode:.", "label": "reference"}]
        left_out = []
        own = {(path / source).resolve() for source in _sources(_task(path)).values()}
        beside: list[Path] = []
        for folder in (path, *below(path)):
            beside += folder.glob("*.py")
        for file in sorted(filter(Path.is_file, beside)):
            if file.resolve() in own or _folder_of(file) != path:
                continue
            try:
                is_submission = "custom_kernel" in signatures.names(parsed(file))
            except UnknownNameError as error:
                left_out.append(str(error))
                continue
            if is_submission:
                name = file.relative_to(path)
                label = "-".join(name.with_suffix("").parts)
                entries.append({"use": f"gpu-mode:{name}", "label": label})
        return {
            "workload": "gpu-mode:.",
            "implementations": entries,
            "baseline": "reference",
            "left_out": left_out,
        }


def _folder_of(submission: Path) -> Path:
    """The folder of the task that a submission belongs to: the nearest above it with a task.yml."""
    for folder in submission.parents:
        if (folder / TASK).is_file():
            return folder
    raise UnknownNameError(f"{submission} lies in no task: no folder above it holds {TASK}")


def _task(path: Path) -> dict[str, Any]:
    file = path / TASK
    fields = "files, lang, tests, benchmarks"
    try:
        task = documents.load(file.read_text(encoding="utf-8"), str(file), fields).data
    except OSError:
        raise UnknownNameError(f"{path} is no GPU MODE task: it holds no {TASK}") from None
    except UnicodeDecodeError:
        raise UnknownNameError(f"{file} is not valid UTF-8") from None
    except SweepFileError as error:
        raise UnknownNameError(str(error)) from None
    check_stated(TaskFile, task, file)
    if task.get("lang", "py") != "py":
        raise UnknownNameError(f"{file}: lang is {task['lang']!r}, and this adapter knows py alone")
    if task.get("multi_gpu"):
        raise UnknownNameError(f"{file}: multi_gpu tasks are not known to this adapter")
    reference = _reference(path, task)
    if not reference.is_file():
        raise UnknownNameError(f"{path} is no GPU MODE task: there is no {reference}")
    missing = sorted(set(NEEDED) - signatures.names(parsed(reference)))
    if missing:
        raise UnknownNameError(f"{reference} defines no {' and no '.join(missing)}")
    return task


def _sources(task: Mapping[str, Any]) -> dict[str, str]:
    """Name in the task's own folder -> file, relative to that of task.yml."""
    return {str(entry["name"]): str(entry["source"]) for entry in task.get("files", [])}


def _cases(path: Path, task: Mapping[str, Any], tree: ast.Module) -> list[dict[str, Any]]:
    """The benchmarks, without their seeds: the harness seeds."""
    section = "benchmarks" if task.get("benchmarks") else "tests"
    cases = task.get(section) or []
    if not cases:
        raise UnknownNameError(f"{path / TASK} states neither benchmarks nor tests")
    taken, takes_any = _arguments(tree)
    found = []
    for number, case in enumerate(cases, start=1):
        for name in case:
            if taken and name not in taken and not takes_any:
                raise UnknownNameError(
                    f"{path / TASK}: {section}[{number - 1}].{name}: generate_input takes no "
                    f"{name}{suggestion(name, taken)}"
                )
        values = {name: value for name, value in case.items() if name != "seed"}
        found.append(values if "name" in taken else {"name": f"benchmark-{number}", **values})
    return found


def _arguments(tree: ast.Module) -> tuple[list[str], bool]:
    """The names of what `generate_input` takes, and whether it takes any; none: it is imported."""
    function = signatures.functions(tree).get("generate_input")
    if function is None:
        return [], True
    stated = function.args
    named = [*stated.posonlyargs, *stated.args, *stated.kwonlyargs]
    return [argument.arg for argument in named], stated.kwarg is not None


def _reference(path: Path, task: Mapping[str, Any]) -> Path:
    return path / _sources(task).get("reference.py", "reference.py")


def _parameters(
    path: Path, cases: Sequence[Mapping[str, Any]], tree: ast.Module
) -> list[Parameter]:
    """What the cases state; what some leave out has the default that `generate_input` gives it."""
    defaults = _defaults(tree)
    names: dict[str, None] = {}  # a set that keeps the order
    for case in cases:
        names |= dict.fromkeys(case)
    if "name" not in _arguments(tree)[0]:
        names.pop("name", None)  # it is ours
    found = []
    for name in names:
        values = [case[name] for case in cases if name in case]
        is_required = len(values) == len(cases)
        if not is_required:
            if name not in defaults:
                raise UnknownNameError(
                    f"{path / TASK}: some benchmarks state {name} and others do not, and "
                    "generate_input has no default for it"
                )
            values.append(defaults[name])
        try:
            kind = _kind(values)
        except NotInTextError:
            raise UnknownNameError(
                f"{path / TASK}: {name} is {values[0]!r}, which can be no param"
            ) from None
        found.append(Parameter(name, kind, is_required, None if is_required else defaults[name]))
    return found


def _kind(values: Sequence[Any]) -> Kind:
    """The type that all these values have.

    Raises:
        NotInTextError: there is none.
    """
    kinds = [Kind("null") if value is None else kind_of_value(value) for value in values]
    if {kind.name for kind in kinds} == {"int", "float"}:
        return Kind("float")
    kind = signatures.union(kinds)
    return kind.of[0] if len(kind.of) == 1 else kind


def _defaults(tree: ast.Module) -> dict[str, Any]:
    """The defaults of `generate_input`, as far as its text tells them."""
    function = signatures.functions(tree).get("generate_input")
    if function is None:
        return {}
    stated, reader = function.args, signatures.Reader(tree)
    positional = [*stated.posonlyargs, *stated.args]
    with_default = positional[len(positional) - len(stated.defaults) :]
    pairs = [
        *zip(with_default, stated.defaults, strict=True),
        *zip(stated.kwonlyargs, stated.kw_defaults, strict=True),
    ]
    found = {}
    for argument, default in pairs:
        if default is not None:
            with suppress(NotInTextError):
                found[argument.arg] = reader.value(default)
    return found


def _tests_properties(tree: ast.Module) -> bool:
    """Whether the task's check is a function of its own that never asks the reference."""
    functions = signatures.functions(tree)
    defined: dict[str, ast.AST] = {**signatures.values(tree), **signatures.classes(tree)}
    defined.update(functions)
    seen: set[str] = set()
    waiting = [CHECK]
    while waiting:
        name = waiting.pop()
        seen.add(name)
        if name not in defined:
            continue
        used = {node.id for node in ast.walk(defined[name]) if isinstance(node, ast.Name)}
        waiting.extend(used - seen)
    return CHECK in functions and "ref_kernel" not in seen


def _load(
    path: Path, task: Mapping[str, Any], name: str, attribute: str, submission: Path | None = None
) -> Any:
    """An attribute of a file of the task, beside the files that task.yml puts there."""
    texts = {}
    for target, source in (_sources(task) or {"reference.py": "reference.py"}).items():
        file = submission if source == SUBMISSION else path / source
        if file is not None and file.suffix == ".py" and file.is_file():
            texts[target] = file.read_text(encoding="utf-8")
    if submission is not None:
        texts["submission.py"] = submission.read_text(encoding="utf-8")
    texts.setdefault("reference.py", (path / "reference.py").read_text(encoding="utf-8"))
    return Target(attribute, file=materialised(texts) / name).load()


ADAPTER = GpuMode()
