"""How a trial ended in its process: the worker's part of its record."""

from __future__ import annotations

import math
import sys
import traceback
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.measure.energy import EnergyWindow
from orchestrator.measure.memory import Figures
from orchestrator.measure.protocol import Measurement
from orchestrator.outcome import Outcome
from orchestrator.record import ErrorInfo, KernelShare
from orchestrator.usercode.implementation import AttemptEndedError, in_brief

if TYPE_CHECKING:
    from orchestrator.verify.rule.judgement import Judgement

NOTED_SHARE = 0.5  # of a limit, from which a row says how near it came


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
    def ok(
        cls,
        measurement: Measurement,
        before: Judgement,
        figures: Figures,
        notes: tuple[str, ...],
        flags: tuple[str, ...],
    ) -> TrialEnd:
        """The end of a trial that was right and was timed.

        Args:
            measurement: its times.
            before: how it compared with the reference before it was timed.
            figures: what else was measured of it.
            notes: what was noted of it besides.
            flags: its flags besides those of the measurement.
        """
        found = {
            **measurement.metrics(),
            **figures,
            "relative_error": before.error,
            "error_budget": before.explained,
            "limit_share": before.share,
        }
        metrics: Figures = {}
        for name, value in found.items():
            metrics[name] = float(value) if value is not None and math.isfinite(value) else None
        said = [*measurement.notes, *dict.fromkeys((*before.notes, *notes))]
        if before.share > NOTED_SHARE:
            said.append(f"{before.share:.0%} of what may be wrong is: {before.place}")
        return cls(
            Outcome.OK,
            flags=(*measurement.flags, *flags),
            notes=tuple(said),
            metrics=metrics,
            values_ms=measurement.values_ms,
        )

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


def agreed(verdict: Judgement, when: str = "") -> Judgement:
    """The verdict, where it is that the outputs are right.

    Raises:
        AttemptEndedError: mismatch.
    """
    if not verdict.ok:
        raise AttemptEndedError(Outcome.MISMATCH, "Mismatch", f"{when}{verdict}")
    return verdict
