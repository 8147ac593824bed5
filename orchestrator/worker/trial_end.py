"""How a trial ended in its process: the worker's part of its record."""

from __future__ import annotations

import sys
import traceback
from contextlib import suppress
from dataclasses import dataclass

from orchestrator.measure.energy import EnergyWindow
from orchestrator.measure.memory import Figures
from orchestrator.outcome import Outcome
from orchestrator.record import ErrorInfo, KernelShare
from orchestrator.usercode.implementation import AttemptEndedError, in_brief


@dataclass(frozen=True)
class TrialEnd:
    """An outcome, and what was measured and noted on the way; see TrialRecord.

    Attributes:
        energy: when calls were made for the supervisor to read their energy; None: they were not.
    """

    outcome: Outcome
    error: ErrorInfo | None = None
    flags: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    metrics: Figures | None = None
    values_ms: tuple[float, ...] | None = None
    kernels: tuple[KernelShare, ...] = ()
    energy: EnergyWindow | None = None

    @classmethod
    def of_error(cls, error: BaseException) -> TrialEnd:
        """The end of a trial that raised, whatever it raised; its traceback goes to the log."""
        _log(error)
        if isinstance(error, AttemptEndedError):
            return cls(error.outcome, ErrorInfo.of(error.kind, error.message))
        return cls(Outcome.FAILED, ErrorInfo.of(type(error).__name__, in_brief(error)))


def _log(error: BaseException) -> None:
    """Print the traceback of the implementation's error; a verdict of ours needs none."""
    with suppress(Exception):  # stderr may be closed, the exception may not print
        if not isinstance(error, AttemptEndedError):
            traceback.print_exception(error)
        elif error.__cause__ is not None:
            traceback.print_exception(error.__cause__)
        else:
            sys.stderr.write(f"{error}\n")
