"""Closes slots after repeated faults of the infrastructure. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

STRIKES = 3


@dataclass
class Quarantine:
    """Counts faults of infrastructure by slot: attempts lost, supervisors dead, devices not clean.

    A slot is closed after STRIKES faults in a row, or at once after a `final` fault. A trial counts
    once, however often it is lost: one that kills its supervisor each time must not close the slot.
    """

    reasons: dict[int, str] = field(default_factory=dict)
    _strikes: dict[int, list[str]] = field(default_factory=dict)

    def fault(
        self, slot: int, where: str, reason: str, trial_id: str | None, final: bool = False
    ) -> bool:
        """Count a fault. True: the slot is closed.

        Args:
            slot: its index.
            where: the slot in words, for `refusal`.
            reason: what happened.
            trial_id: the trial whose attempt it was; None: of no trial, which always counts.
            final: no further trial may run there.
        """
        strikes = self._strikes.setdefault(slot, [])
        strike = trial_id or f"no trial's, {len(strikes)}"
        if strike not in strikes:
            strikes.append(strike)
        if not final and len(strikes) < STRIKES:
            return False
        if not final:
            reason = f"{STRIKES} faults in a row, the last: {reason}"
        self.reasons[slot] = f"{where}: {reason}"
        return True

    def well(self, slot: int) -> None:
        """Reset the count: an attempt ended without a fault."""
        self._strikes.pop(slot, None)

    def refusal(self, model: str = "") -> str:
        """Why no slot is left, or none of a model of accelerator: one line for each."""
        where = f" of the accelerator {model}" if model else ""
        lines = [f"no slot{where} is left to run on:"]
        for reason in self.reasons.values():
            lines.append(f"  {reason}")
        return "\n".join(lines)
