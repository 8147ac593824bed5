"""Where a sweep's time went: the seconds of each phase, summed over its attempts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from orchestrator.formatting import duration
from orchestrator.record import TrialRecord

# What is not the implementation's own, and not timing it.
HARNESS = ("calibrate", "start", "verify", "memory", "end")


@dataclass(frozen=True)
class PhaseShare:
    """One phase of all attempts together.

    Attributes:
        seconds: summed over the attempts.
        share: of the sum over all phases, from 0 to 1.
    """

    name: str
    seconds: float
    share: float

    @property
    def percent(self) -> str:
        """`42 %`, `< 1 %`."""
        return f"{100 * self.share:.0f} %" if self.share >= 0.01 else "< 1 %"

    @property
    def time(self) -> str:
        """`1 min 5 s`, `0.4 s`."""
        return duration(self.seconds) if self.seconds >= 10 else f"{self.seconds:.2g} s"


def harness_line(records: Iterable[TrialRecord]) -> str | None:
    """One sentence if the harness took more than half of the attempts' time; else None."""
    own = [phase for phase in phase_shares(records) if phase.name in HARNESS]
    own.sort(key=lambda phase: -phase.share)
    total = sum(phase.share for phase in own)
    if total <= 0.5:
        return None
    named = [f"{phase.name} {phase.percent}" for phase in own if phase.share >= 0.01]
    return (
        f"the harness took {100 * total:.0f} % of the attempts' time ({', '.join(named)}), "
        "the rest went to what is measured"
    )


def phases_of(record: TrialRecord) -> Mapping[str, float]:
    """Phase -> seconds of one attempt; empty for records of versions that did not keep them."""
    return record.phase_s or {}


def phase_shares(records: Iterable[TrialRecord]) -> list[PhaseShare]:
    """The phases in the order of an attempt; empty where no record has any."""
    seconds: dict[str, float] = {}
    for record in records:
        for name, value in phases_of(record).items():
            seconds[name] = seconds.get(name, 0.0) + value
    total = sum(seconds.values())
    if total <= 0:
        return []
    shares = []
    for name, value in seconds.items():
        share = PhaseShare(name.replace("_", " "), value, value / total)
        shares.append(share)
    return shares
