"""Observations of the machine between trials: one line of machine.jsonl each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

from orchestrator.util.frozen_model import FrozenModel

Kind = Literal["ceilings", "sentinel"]
MAX_MACHINE_DRIFT = {"cuda": 0.02, "cpu": 0.15}
# What a sentence calls each control. launch_ms is recorded but not judged: latency_ms on a GPU is
# the device's own time, of which a launch is no part.
WORDS = {
    "matmul_ms": "a fixed matmul",
    "copy_ms": "a fixed copy",
    "loop_ms": "a fixed loop of the interpreter",
}


class Control(FrozenModel):
    """Control benchmarks: fixed work, timed to see whether the machine itself has changed.

    Attributes:
        at: when, as records state it.
        matmul_ms, copy_ms: milliseconds per call.
        loop_ms: of a loop of the interpreter; None on a GPU.
        launch_ms: of one small kernel launched from the host; None on a CPU.
        noise_pct: interquartile range in percent of the median, by name.
    """

    at: str
    matmul_ms: float
    copy_ms: float
    loop_ms: float | None = None
    launch_ms: float | None = None
    noise_pct: dict[str, float] = {}


class Observation(FrozenModel):
    """One observation of a slot's device.

    Attributes:
        at: when, as records state it.
        values: `Ceilings` (kind "ceilings") or `Control` (kind "sentinel") as JSON values.
    """

    kind: Kind
    at: str
    host: str
    slot: int = 0
    values: dict[str, Any]


def controls(observations: Iterable[Observation]) -> list[Control]:
    """The controls among the observations, in their order."""
    return [Control.model_validate(seen.values) for seen in observations if seen.kind == "sentinel"]


def values_of(series: Iterable[Control], name: str) -> list[float]:
    """The figure `name` of each control that has it."""
    found = []
    for control in series:
        value = getattr(control, name)
        if value is not None:
            found.append(value)
    return found


class Drift(NamedTuple):
    """The control that changed most between two times, in milliseconds; `control` in words."""

    control: str
    least_ms: float
    most_ms: float

    @property
    def share(self) -> float:
        """By how much of the least the most is longer."""
        return self.most_ms / self.least_ms - 1

    def sentence(self) -> str:
        """What a report says of it."""
        return (
            f"the machine itself changed meanwhile: {self.control} took {self.least_ms:.4g} ms at "
            f"its fastest, {self.most_ms:.4g} ms at its slowest (+{self.share:.0%})"
        )


def machine_drift(series: Sequence[Control], device: str) -> Drift | None:
    """The control that changed most; None if none changed beyond its limit."""
    limit, found = MAX_MACHINE_DRIFT[device], None
    for name, words in WORDS.items():
        values = values_of(series, name)
        if not values:
            continue
        drift = Drift(words, min(values), max(values))
        if drift.share > limit:
            limit, found = drift.share, drift
    return found


def drifts(observations: Iterable[Observation], device: str) -> dict[tuple[str, int], Drift]:
    """The drift of each (host, slot) whose machine drifted; `device` is "cpu" or "cuda"."""
    slots: dict[tuple[str, int], list[Observation]] = {}
    for seen in observations:
        slots.setdefault((seen.host, seen.slot), []).append(seen)
    found = {}
    for slot, seen_there in slots.items():
        drift = machine_drift(controls(seen_there), device)
        if drift is not None:
            found[slot] = drift
    return found


def drift_sentences(observations: Sequence[Observation], device: str) -> list[str]:
    """A sentence for each slot whose machine drifted; it names the slot if there are several."""
    several = len({(seen.host, seen.slot) for seen in observations}) > 1
    sentences = []
    for (host, slot), drift in drifts(observations, device).items():
        where = f"{host}, slot {slot}: " if several else ""
        sentences.append(where + drift.sentence())
    return sentences
