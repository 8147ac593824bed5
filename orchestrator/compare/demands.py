"""Fails a comparison on more than time: unclear rows, more memory, larger errors. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from orchestrator.compare.comparison import Comparison, Pair, Verdict
from orchestrator.compare.pairing import LEAST_ERROR, LEAST_MIB
from orchestrator.errors import ComparisonError


@dataclass(frozen=True)
class Demands:
    """What is asked for; a slow-down is told by the comparison itself.

    Attributes:
        unclear: fail on rows of which neither can be said.
        memory: fail on rows whose peak grew by this fraction or more; None: on none.
        error: fail on rows whose relative error grew to this many times or more; None: on none.
    """

    unclear: bool = False
    memory: float | None = None
    error: float | None = None

    def held_against(self, found: Comparison) -> Comparison:
        """The comparison with what it fails on besides its verdicts."""
        failures = []
        for pair in found.rows:
            name = pair.base.implementation
            for axis in found.columns:
                name += f" {axis}={pair.base.value(axis)}"
            for why in self._of(pair):
                failures.append(f"{name}: {why}")
        return replace(found, failures=tuple(failures))

    def _of(self, pair: Pair) -> list[str]:
        """What fails on one pair of rows."""
        told = []
        if self.unclear and pair.verdict is Verdict.UNCLEAR:
            told.append("unclear (--fail-unclear)")
        was, now = _both(pair, "peak_memory_mib")
        if self.memory is not None and now > max((1 + self.memory) * was, was + LEAST_MIB):
            told.append(f"{was:.0f} MiB, now {now:.0f} (--fail-memory)")
        was, now = _both(pair, "relative_error")
        if self.error is not None and now > max(self.error * was, LEAST_ERROR):
            told.append(f"relative error {was:.1e}, now {now:.1e} (--fail-error)")
        return told


def refuse_same_code(found: Comparison) -> None:
    """Refuse a candidate that is the base.

    Two machines, or two versions of what both run on, are a question of their own, and one that
    was asked by --force.

    Raises:
        ComparisonError: every row of both was measured with the same code in the same environment.
    """
    if found.same_code and not found.environment_differences:
        sides = f"{found.base} and {found.candidate}"
        if found.base == found.candidate:
            sides = f"{found.base} is compared with itself, and both sides"
        raise ComparisonError(
            f"{sides} measured the same code: implementation sources "
            "and installed packages are the same, so that a difference would be the machine's. "
            "To see how much that is, compare them with --same-code"
        )


def _both(pair: Pair, metric: str) -> tuple[float, float]:
    """A figure of base and candidate; NaN, of which no comparison is true, if a row has none."""
    was, now = pair.base.metrics.get(metric), pair.candidate.metrics.get(metric)
    if was is None or now is None:
        return math.nan, math.nan
    return was, now
