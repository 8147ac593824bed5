"""A file as a workload: `inputs(...)`, whose parameters are the params of a trial, and
`reference(...)`.

The file is read for its params and imported when one of its functions is first called, so that a
sweep is planned and reported without torch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.errors import UnknownNameError
from orchestrator.usercode.functions import Functions, Get
from orchestrator.usercode.registry import Target
from orchestrator.usercode.text import file_facts
from orchestrator.usercode.text.file_facts import FileFacts
from orchestrator.usercode.text.params_model import params_model
from orchestrator.usercode.values.changed import Changed
from orchestrator.workload import Config, Workload

PRECISIONS = ("float64", "float32", "tf32", "float16", "bfloat16")


@dataclass(frozen=True)
class FileWorkload(Workload):
    """A workload that is a file, or that an adapter makes of one.

    Attributes:
        facts: what it states.
        calls: its functions.
        cases: points that are run where the sweep file states none, or a file of them.
    """

    facts: FileFacts = field(default_factory=lambda: FileFacts((), ()))
    calls: Functions = field(
        default_factory=lambda: Functions(FileFacts((), ()), _nothing), repr=False
    )
    cases: tuple[Mapping[str, Any], ...] | Path = ()

    @property
    def counts_work(self) -> bool:
        """Whether the work of a call is counted, since the file does not state it."""
        return "work" not in self.facts.functions


def load(path: Path) -> FileWorkload:
    """The workload that the file at `path` is; the file is read and not imported.

    Raises:
        UnknownNameError: it does not parse, or is no workload.
    """
    facts = file_facts.read(path)

    loaded: dict[str, Any] = {}

    def get(name: str, _config: Config | None) -> Any:
        if name not in loaded:
            loaded[name] = Target(name, file=path).load()
        return loaded[name]

    try:
        return workload_of(path.stem, facts, get, path)
    except (ValueError, TypeError) as error:
        raise UnknownNameError(f"{path.name}: inputs: {error}") from None


def workload_of(
    name: str,
    facts: FileFacts,
    get: Get,
    path: Path | None = None,
    cases: Sequence[Mapping[str, Any]] = (),
    *,
    finds_writes: bool = False,
    scratch: Callable[[Config], bool] | None = None,
    widens: bool = False,
    out_dtypes: Callable[[Config], Mapping[str, Any]] | None = None,
) -> FileWorkload:
    """A workload of functions.

    Args:
        name: any text; what a slug may not hold is replaced.
        facts: the params, what is stated, and which functions there are.
        get: (name, config) -> the function of that name, for a trial of that config.
        path: the file whose text states `work`; None: nothing does.
        cases: points that are run where the sweep file states none.
        finds_writes: whether the inputs that `reference` changes are those that a call may change;
            else what is stated.
        scratch: as of `Functions`: such inputs are found, put back before every call, and what a
            call leaves in them is not judged.
        widens: as of `Functions`.
        out_dtypes: as of `Functions`.

    Raises:
        ValueError, TypeError: a parameter has no type, or a default breaks its own bounds.
    """
    calls = Functions(facts, get, path, widens=widens, out_dtypes=out_dtypes)
    calls.scratch = scratch
    if finds_writes or scratch is not None:
        calls.writes = Changed(calls)  # type: ignore[assignment]
    stated = facts.values.get("cases") or ()
    if isinstance(stated, str) and path is not None:
        points: tuple[Mapping[str, Any], ...] | Path = path.parent / stated
    else:
        points = tuple(cases or stated)
    backward = bool(facts.values.get("backward", False))
    stress = facts.values.get("stress")
    return FileWorkload(
        name=re.sub(r"[^A-Za-z0-9._-]", "_", name),
        params=params_model(f"{name}_params", facts.parameters),
        inputs=calls.inputs,
        reference=calls.reference,
        work=calls.work,
        state=calls.state if "state" in facts.functions else None,
        backward=lambda _params: backward,
        precision=lambda given: _precision(facts, given),
        columns=facts.values.get("columns") or {},
        writes=calls.writes,
        restore=scratch is not None or bool(facts.values.get("restore", False)),
        judge=calls.judge if "judge" in facts.functions else None,
        stress=None if stress is None else tuple(stress),
        tolerance=facts.values.get("tolerance"),
        metrics=facts.values.get("metrics") or {},
        facts=facts,
        calls=calls,
        cases=points,
    )


def _nothing(name: str, _config: Config | None) -> Any:
    raise AttributeError(name)


def _precision(facts: FileFacts, params: Any) -> str:
    """What the trial computes in: as the file states, else the param `dtype`, else float32."""
    stated = facts.values.get("precision") or getattr(params, "dtype", None)
    return stated if stated in PRECISIONS else "float32"
