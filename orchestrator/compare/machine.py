"""Whether the machine was as fast in one sweep as in the other, by the controls of both."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import OrchestratorError
from orchestrator.machine.observation import WORDS, Observation, controls, values_of
from orchestrator.results import lookup, sweep_directory
from orchestrator.results.results import Results
from orchestrator.results.rows import Row


@dataclass(frozen=True)
class MachineChange:
    """How long fixed pieces of work took in the candidate, over how long in the base.

    Attributes:
        ratios: by control, of the medians over each sweep.
        low, high: the least and the most that any control of the one sweep took over any of the
            other, or over another of its own sweep, either way: controls are seldom seen, and what
            those of one sweep met, rows of either may have met unseen. The code of a row whose
            ratio lies between need not have changed.
    """

    ratios: dict[str, float]
    low: float
    high: float

    def __str__(self) -> str:
        parts = []
        for name, ratio in self.ratios.items():
            parts.append(f"{WORDS[name]} took {ratio:.2f} times as long")
        return f"{', '.join(parts)} (single controls: {self.low:.2f} to {self.high:.2f})"

    def to_json(self) -> dict[str, Any]:
        """As `compare --json` gives it."""
        return {"ratios": self.ratios, "low": self.low, "high": self.high}


def observations_of(results: Results, rows: Iterable[Row]) -> list[Observation]:
    """What was seen of the machine while `rows` of a sweep were measured.

    Reused rows were measured by other sweeps: their observations count, too, as far as those
    sweeps are still here.
    """
    origins = {row.reused_from for row in rows}
    found: list[Observation] = []
    if "" in origins:
        found += results.observations
    for origin in sorted(origins - {""}):
        with suppress(OrchestratorError):
            found += sweep_directory.observations(lookup.find(origin))
    return found


def machine_change(
    base: Iterable[Observation], candidate: Iterable[Observation]
) -> MachineChange | None:
    """What the controls of two sweeps say; None where either has none."""
    before, after = controls(base), controls(candidate)
    ratios: dict[str, float] = {}
    lows, highs = [], []
    for name in WORDS:
        was, now = values_of(before, name), values_of(after, name)
        if was and now:
            ratios[name] = statistics.median(now) / statistics.median(was)
            within = max(max(was) / min(was), max(now) / min(now))
            lows.append(min(min(now) / max(was), 1 / within))
            highs.append(max(max(now) / min(was), within))
    if not ratios:
        return None
    return MachineChange(ratios, min(lows), max(highs))
