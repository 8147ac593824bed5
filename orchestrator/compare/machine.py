"""Whether the machine was as fast in one sweep as in the other, by the controls of both. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from orchestrator.machine.observation import WORDS, Observation, controls, values_of


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
        parts = [
            f"{WORDS[name]} took {ratio:.2f} times as long" for name, ratio in self.ratios.items()
        ]
        return f"{', '.join(parts)} (single controls: {self.low:.2f} to {self.high:.2f})"

    def to_json(self) -> dict[str, Any]:
        """As `compare --json` gives it."""
        return {"ratios": self.ratios, "low": self.low, "high": self.high}


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
    return MachineChange(ratios, min(lows), max(highs)) if ratios else None
