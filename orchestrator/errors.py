"""What can go wrong before or around a sweep, and the exit code that says so.

A trial that fails is no exception: it is a record (see `record.Outcome`). What remains is one
tree::

    OrchestratorError
    ├── RequestError               exit 2: the request is bad; nothing was run
    │   ├── SweepFileError         fields of a sweep file that break a rule, each with its line
    │   ├── ExpressionError        an expression that does not parse, or names what is not there
    │   ├── UnknownNameError       a workload or implementation that cannot be found
    │   ├── SweepNotFoundError     no sweep of that id, or no results in that directory
    │   ├── JournalError           a journal that cannot be read
    │   └── ComparisonError        two sweeps that cannot be compared
    ├── AbortedError               exit 3: the sweep could not go on
    │   ├── UnfitMachineError      no device, cluster or disk to measure on
    │   ├── SweepBusyError         another driver holds this sweep
    │   └── CircuitBrokenError     too many faults of infrastructure in a row
    └── InterruptedSweepError      exit 130 or 143: stopped by a signal, resumable

The text of each is meant for the person at the terminal: field, rule, value found, what to do next.
"""

from __future__ import annotations

import difflib
import shlex
import signal
from collections.abc import Iterable
from dataclasses import dataclass

SYNONYMS = {
    "half": "float16", "fp16": "float16", "f16": "float16",
    "bf16": "bfloat16",
    "float": "float32", "fp32": "float32", "f32": "float32", "single": "float32",
    "double": "float64", "fp64": "float64",
    "gpu": "cuda", "nvidia": "cuda", "host": "cpu",
}  # fmt: skip


class OrchestratorError(Exception):
    """Base of everything that this package raises on purpose."""

    exit_code = 3


class RequestError(OrchestratorError):
    """The request cannot be carried out as it stands."""

    exit_code = 2


@dataclass(frozen=True)
class Problem:
    """One broken rule of a sweep file: where it stands, what the rule is, what was found."""

    field: str
    rule: str
    found: str | None = None
    line: int | None = None
    hint: str | None = None

    def __str__(self) -> str:
        text = f"{self.field}: {self.rule}"
        if self.found is not None:
            text += f", found {self.found}"
        if self.hint is not None:
            text += f" ({self.hint})"
        return text


class SweepFileError(RequestError):
    """A sweep file that is missing, does not parse or breaks rules; `problems` names each."""

    def __init__(self, path: str, problems: list[Problem]) -> None:
        self.path = path
        self.problems = problems
        lines = []
        for problem in problems:
            place = path if problem.line is None else f"{path}:{problem.line}"
            lines.append(f"{place}: {problem}")
        super().__init__("\n".join(lines))


class ExpressionError(RequestError):
    """An expression that does not parse, names what is not there, or yields the wrong type."""


class UnknownNameError(RequestError):
    """A workload or an implementation that is not registered and cannot be found."""


class SweepNotFoundError(RequestError):
    """No sweep of that id, or a directory without results."""


class JournalError(RequestError):
    """A journal that cannot be read: another schema, or damage beyond a torn last line."""


class IndexDamagedError(RequestError):
    """The index of the results folder is damaged; the journals that it is made from are whole."""


class IndexBusyError(RequestError):
    """Another process holds the index of the results folder."""


class ComparisonError(RequestError):
    """Two sweeps that cannot be compared."""


class AbortedError(OrchestratorError):
    """The sweep could not start or could not go on."""


class UnfitMachineError(AbortedError):
    """No device, cluster or disk on which this sweep could be measured."""


class SweepBusyError(AbortedError):
    """Another driver is working on this sweep."""


class CircuitBrokenError(AbortedError):
    """Too many crashed, lost or device-fault trials in a row."""


class InterruptedSweepError(OrchestratorError):
    """The sweep was stopped by a signal; its journal is whole and it can be resumed.

    Args:
        signum: which signal.
        name: what `resume` finds the sweep by; None: nothing was begun.
    """

    def __init__(self, signum: int, name: str | None) -> None:
        self.signum = signum
        self.exit_code = 128 + signum
        next_step = "start the sweep again"
        if name is not None:
            next_step = f"go on with: orchestrator resume {shlex.quote(name)}"
        super().__init__(f"interrupted by {signal.Signals(signum).name}; {next_step}")


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name nearest to a misspelt one, or to a synonym of it; None: none is near."""
    names = sorted(known)
    synonym = SYNONYMS.get(name.lower())
    if synonym in names:
        return synonym
    matches = difflib.get_close_matches(name, names, n=1)
    if not matches:
        return None
    return matches[0]


def suggestion(name: str, known: Iterable[str]) -> str:
    """' (did you mean ...?)' for the nearest known name; if none is near, all of them; or ''."""
    names = sorted(known)
    near = nearest(name, names)
    if near is not None:
        return f" (did you mean {near!r}?)"
    if not names:
        return ""
    return f" (known: {', '.join(names)})"
