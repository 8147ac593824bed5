"""What was seen of the machine beside the trials: a line of machine.jsonl each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from orchestrator.machine.ceilings import Sentinel, machine_drift
from orchestrator.model import FrozenModel

Kind = Literal["ceilings", "sentinel"]


class Observation(FrozenModel):
    """What was seen of one slot's device.

    Attributes:
        at: when, as records state it.
        values: `Ceilings` or `Sentinel` as JSON values.
    """

    kind: Kind
    at: str
    host: str
    slot: int = 0
    values: dict[str, Any]


def drifts(observations: Iterable[Observation], device: str) -> list[str]:
    """A sentence for each slot whose machine changed more than machines of its kind may ("cpu" or "cuda")."""
    slots: dict[tuple[str, int], list[Sentinel]] = {}
    for seen in observations:
        if seen.kind == "sentinel":
            slots.setdefault((seen.host, seen.slot), []).append(Sentinel.model_validate(seen.values))
    found = {slot: machine_drift(series, device) for slot, series in slots.items()}
    where = {slot: f"{slot[0]}, slot {slot[1]}: " if len(slots) > 1 else "" for slot in slots}
    return [f"{where[slot]}{text}" for slot, text in found.items() if text is not None]
