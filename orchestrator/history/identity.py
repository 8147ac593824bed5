"""What must be the same for a row of one sweep to stand for a row of another. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.machine.environment import differing
from orchestrator.spec.models import SweepSpec

ROUNDS = "repeats"  # how many rounds a row has is seen from its records
# What a trial may take; the rest of `resources` says where it runs, or is part of its environment.
TAKEN = ("gpus", "host_memory_gib", "placement", "exclusive_node")
ABSENT = "none"


def asked(spec: SweepSpec, device: str, *, in_turns: bool = False) -> dict[str, Any]:
    """How a sweep file asks for its rows to be measured, judged and given room, by field name.

    The trial itself, its source code and the machine are not in it, and neither is
    `measure.repeats`: how many rounds a row has is seen from its records.

    Args:
        spec: the sweep file.
        device: "cpu" or "cuda".
        in_turns: whether two implementations are measured in turns, in one process.
    """
    facts: dict[str, Any] = {"workload": spec.workload, "seed": spec.seed}
    facts["measured"] = "in turns" if in_turns else "alone"
    for name, value in spec.measure.model_dump(exclude={ROUNDS}).items():
        facts[f"measure.{name}"] = value
    facts |= spec.measure.facts(device)  # the device's defaults in place of None
    for name, value in spec.verify.model_dump().items():
        facts[f"verify.{name}"] = value
    for name in TAKEN:
        facts[f"resources.{name}"] = getattr(spec.resources, name)
    facts["max_concurrent"] = spec.max_concurrent
    return facts


def changes(was: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """`torch: 2.12.0, now 2.13.0` for each fact that differs, one level of nesting opened."""
    found = []
    for name, old, new in differing(was, now):
        before, after = (ABSENT if value is None else value for value in (old, new))
        found.append(f"{name}: {before}, now {after}")
    return found
