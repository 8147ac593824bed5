"""Which slots are no longer trusted, and why. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

STRIKES = 3


@dataclass
class Quarantine:
    """Counts faults of infrastructure by slot: attempts lost, supervisors dead, devices not clean.

    A slot is out after STRIKES faults in a row, or at once after a fault that is `final`. One trial counts once however
    often it is lost: a trial that takes its supervisor along every time is not to cost the others their slot.
    """

    reasons: dict[int, str] = field(default_factory=dict)
    _strikes: dict[int, list[str]] = field(default_factory=dict)

    def fault(self, slot: int, where: str, reason: str, trial_id: str | None, final: bool = False) -> bool:
        """Count a fault; whether the slot is out.

        Args:
            slot: its index.
            where: the slot in words, for `refusal`.
            reason: what happened.
            trial_id: whose attempt it was; None: nobody's, which always counts.
            final: no further trial may run there.
        """
        strikes = self._strikes.setdefault(slot, [])
        strike = trial_id or f"no trial's, {len(strikes)}"
        if strike not in strikes:
            strikes.append(strike)
        if not final and len(strikes) < STRIKES:
            return False
        count = "" if final else f"{STRIKES} faults in a row, the last: "
        self.reasons[slot] = f"{where}: {count}{reason}"
        return True

    def well(self, slot: int) -> None:
        """An attempt ended as attempts do: the slot begins anew."""
        self._strikes.pop(slot, None)

    def refusal(self) -> str:
        """Why there is no slot left, a line for each."""
        return "\n".join(["no slot is left to run on:", *(f"  {reason}" for reason in self.reasons.values())])
