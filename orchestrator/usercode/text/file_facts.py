"""What a workload file states, without importing it; what its text alone does not tell is asked of
a Python beside.

The answer of that Python is kept by the content of the file and of all that it imports from beside
it.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.errors import UnknownNameError, suggestion
from orchestrator.usercode.registry import Target
from orchestrator.usercode.source import source_hash
from orchestrator.usercode.text import signatures
from orchestrator.usercode.text.signatures import Kind, NotInTextError, Parameter
from orchestrator.util import subprocesses

# What a workload file may state beside `inputs` and `reference`: values, and functions
VALUES = (
    "backward", "cases", "columns", "header", "metrics", "precision", "restore", "stress",
    "tolerance", "writes",
)  # fmt: skip
FUNCTIONS = ("inputs", "reference", "work", "judge", "state", "unsupported", "gpus")
# Those that are called with any of the params, by name
OF_PARAMS = ("work", "state", "unsupported")
# What a value must be to be read at all, and how it is written; the rest is a rule of the plan
TYPES: Mapping[str, tuple[tuple[type, ...], str]] = {
    "cases": ((str, list, tuple), 'a list of dicts of params, or a file, as "shapes.csv"'),
    "stress": ((list, tuple), 'a tuple of kinds of inputs, as ("edges", "small"), or ()'),
    "writes": ((str, list, tuple, dict), 'a tuple of names of inputs, as ("cache",)'),
}
ASK_S = 120.0  # for a Python that imports the file, and torch with it


@dataclass(frozen=True)
class FileFacts:
    """What one workload file states.

    Attributes:
        parameters: of `inputs`, which are the params of the workload.
        arguments: the names of what `reference` is called with, but for `state` where the file has
            such a function; a star among them: any number.
        takes_state: whether `reference` has a parameter `state`, and the file that function.
        values: what names of VALUES are assigned.
        functions: the names of FUNCTIONS that it defines.
    """

    parameters: tuple[Parameter, ...]
    arguments: tuple[str, ...]
    takes_state: bool = False
    values: Mapping[str, Any] = field(default_factory=dict)
    functions: frozenset[str] = frozenset()

    def to_json(self) -> dict[str, Any]:
        """As JSON values, read back by `from_json`."""
        data = asdict(self)
        for stated, parameter in zip(data["parameters"], self.parameters, strict=True):
            stated["kind"] = None if parameter.kind is None else parameter.kind.to_json()
        return {**data, "functions": sorted(self.functions)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> FileFacts:
        """The facts that `to_json` gave."""
        parameters = []
        for stated in data["parameters"]:
            kind = None if stated["kind"] is None else Kind.from_json(stated["kind"])
            parameters.append(Parameter(**{**stated, "kind": kind}))
        return cls(
            tuple(parameters),
            tuple(data["arguments"]),
            data["takes_state"],
            data["values"],
            frozenset(data["functions"]),
        )


def read(path: Path) -> FileFacts:
    """What the workload file at `path` states.

    Raises:
        UnknownNameError: it does not parse, or lacks `inputs` or `reference`, or a parameter has no
            type, or what it states is of the wrong kind.
    """
    tree = parsed(path)
    try:
        facts = from_text(path, tree)
    except NotInTextError:
        facts = asked(path)
    _refuse_values(path, tree, facts)
    _refuse_parameters(path, tree, facts)
    return facts


def _refuse_values(path: Path, tree: ast.Module, facts: FileFacts) -> None:
    """Refuse a value of another kind than its name asks for."""
    assigned = signatures.values(tree)
    for name, value in facts.values.items():
        if name not in TYPES or value is None:
            continue
        kinds, meant = TYPES[name]
        found = value
        is_right = isinstance(value, kinds)
        if name == "cases" and isinstance(value, list | tuple):
            found = next((case for case in value if not isinstance(case, dict)), None)
            is_right = found is None
        if not is_right:
            where = f"{path.name}:{assigned[name].lineno}" if name in assigned else path.name
            one = "one of cases" if found is not value else name
            raise UnknownNameError(f"{where}: {one} is {found!r:.60}: {name} must be {meant}")


def _refuse_parameters(path: Path, tree: ast.Module, facts: FileFacts) -> None:
    """Refuse a function of params that needs what is no param: every trial would fail by it."""
    params = [parameter.name for parameter in facts.parameters]
    defined = signatures.functions(tree)
    for name in OF_PARAMS:
        if name not in defined or defined[name].decorator_list:
            continue
        stated = defined[name].args
        positional = [*stated.posonlyargs, *stated.args]
        needed = positional[: len(positional) - len(stated.defaults)]
        for argument, default in zip(stated.kwonlyargs, stated.kw_defaults, strict=True):
            if default is None:
                needed.append(argument)
        for argument in needed:
            if argument.arg not in params:
                raise UnknownNameError(
                    f"{path.name}:{argument.lineno}: {name} takes {argument.arg!r}, and inputs has "
                    f"no such param{suggestion(argument.arg, params)}; the {name} of a workload's "
                    "file is a function of params: call an implementation otherwise"
                )


def parsed(path: Path) -> ast.Module:
    """The syntax tree of a Python file.

    Raises:
        UnknownNameError: it does not parse.
    """
    try:
        return ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = f" on line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        why = getattr(error, "msg", None) or getattr(error, "strerror", None) or error
        raise UnknownNameError(f"{path} does not parse as Python{line}: {why}") from None


def from_text(path: Path, tree: ast.Module) -> FileFacts:
    """What the text of the file says.

    Raises:
        NotInTextError: it leaves something open that importing the file would tell.
        UnknownNameError: it is no workload.
    """
    defined, bound = signatures.functions(tree), signatures.names(tree)
    missing = [name for name in ("inputs", "reference") if name not in bound]
    if missing:
        raise UnknownNameError(_no_workload(path, tree, missing))
    if "inputs" not in defined or "reference" not in defined:
        raise NotInTextError
    reader = signatures.Reader(tree)
    assigned = signatures.values(tree)
    stated = {name: reader.value(assigned[name]) for name in VALUES if name in assigned}
    if any(name in bound and name not in assigned for name in VALUES):
        raise NotInTextError  # imported from elsewhere, or a function where a value is meant
    reference = defined["reference"]
    arguments = list(signatures.parameter_names(reference))
    if reference.args.vararg is not None:
        arguments.append(f"*{reference.args.vararg.arg}")
    keywords = [argument.arg for argument in reference.args.kwonlyargs]
    has_state = "state" in bound  # else it is the name of an input
    return FileFacts(
        reader.parameters(defined["inputs"]),
        tuple(name for name in arguments if not (has_state and name == "state")),
        has_state and "state" in (*arguments, *keywords),
        stated,
        frozenset(name for name in FUNCTIONS if name in bound),
    )


def _no_workload(path: Path, tree: ast.Module, missing: list[str]) -> str:
    said = f"{path.name} defines no {' and no '.join(missing)}"
    for name, node in signatures.values(tree).items():
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            continue
        if node.func.id == "Workload":
            return f"{said}; to use its Workload, write {path.name}:{name}"
    return (
        f"{said}: a workload file has inputs(...), whose parameters are the params of a trial, "
        "and reference(...), which is given what inputs returns"
    )


def asked(path: Path) -> FileFacts:
    """What a Python of its own says that imported the file; kept by content.

    Raises:
        UnknownNameError: the file cannot be imported, or is no workload.
    """
    kept = _kept(path)
    with suppress(OSError, ValueError, KeyError, TypeError):
        return FileFacts.from_json(json.loads(kept.read_text(encoding="utf-8")))
    line = [sys.executable, "-m", "orchestrator.usercode.text.ask_python", str(path)]
    try:
        data = subprocesses.last_json_line(subprocesses.run(line, "", ASK_S))
    except subprocess.TimeoutExpired:
        raise UnknownNameError(f"{path.name} cannot be imported within {ASK_S:g} s") from None
    except ValueError as error:
        raise UnknownNameError(f"{path.name} cannot be imported: {error}") from None
    if "refused" in data:
        raise UnknownNameError(f"{path.name}: {data['refused']}")
    with suppress(OSError):
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(data), encoding="utf-8")
    return FileFacts.from_json(data)


def cache_folder() -> Path:
    """Where answers of a Python beside are kept."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "gpu-sweep-orchestrator"


def _kept(path: Path) -> Path:
    """Where the answer for the file, as it stands, is kept."""
    version = ".".join(map(str, sys.version_info[:3]))
    return (
        cache_folder()
        / "workload-files"
        / f"{source_hash(Target('inputs', file=path))}-{version}.json"
    )
