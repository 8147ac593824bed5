"""Waits for a busy cluster: says what for and who holds it, and gives up in time."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from orchestrator.errors import UnfitMachineError
from orchestrator.executors.base import Noted
from orchestrator.executors.placement import SlotPlan

FIRST_NOTE_S, NOTE_EVERY_S = 8.0, 60.0
MOST_NAMED = 4

Tables = Callable[[], tuple[Iterable[Mapping[str, Any]], Iterable[Mapping[str, Any]]]]


@dataclass
class Waiting:
    """For the first slot of a cluster, from now on.

    Args:
        ray: the module, connected.
        tables: tells of every actor and every job of the cluster, as Ray's state has them.
        wait_s: how long at most.
    """

    ray: Any
    tables: Tables
    wait_s: float
    _begun: float = field(default_factory=time.monotonic)
    _noted: float = float("-inf")

    def note(self, plan: SlotPlan) -> list[Noted]:
        """What there is to say while no slot is ready; `plan` is of one that is waited for.

        Raises:
            UnfitMachineError: it takes longer than `wait_s`.
        """
        now = time.monotonic()
        waited_s = now - self._begun
        late = waited_s > self.wait_s
        if not late and (waited_s < FIRST_NOTE_S or now - self._noted < NOTE_EVERY_S):
            return []
        self._noted = now
        if late:
            raise UnfitMachineError(
                f"{self._text(plan, waited_s)}; given up after resources.wait_s = {self.wait_s:g}"
            )
        free = self.ray.available_resources()
        if not plan.rest and free.get("CPU", 0) >= plan.cpus and free.get("GPU", 0) >= plan.gpus:
            return []  # there is room, and a supervisor is starting
        return [Noted(self._text(plan, waited_s))]

    def _text(self, plan: SlotPlan, waited_s: float) -> str:
        wanted = _amounts({"CPU": plan.cpus, "GPU": plan.gpus})
        if plan.rest:
            wanted += f" on each of {len(plan.parts)} nodes"
        free, every = self.ray.available_resources(), self.ray.cluster_resources()
        text = (
            f"waiting for the cluster for {waited_s:.0f} s: a slot takes {wanted}, "
            f"{_amounts(free)} of {_amounts(every)} are free"
        )
        holders = self._holders()
        if holders:
            text += f", held by {holders}"
        return text

    def _holders(self) -> str:
        """Drivers with actors alive, other than this one: "2 Trainer of driver 4711 on 10.0.0.1".

        Ray tells this by calls that it does not promise to keep; where they are gone nobody is
        named.
        """
        found = []
        with suppress(Exception):
            own = self.ray.get_runtime_context().get_job_id()
            actors, jobs = self.tables()
            known = {job["JobID"]: job for job in jobs}
            alive: dict[str, Counter[str]] = {}
            for actor in actors:
                if actor.get("State") == "ALIVE" and actor["JobID"] != own:
                    name = str(actor.get("ActorClassName") or "actor")
                    alive.setdefault(actor["JobID"], Counter())[name] += 1
            for job_id, names in list(alive.items())[:MOST_NAMED]:
                job = known.get(job_id, {})
                counts = [f"{count} {name}" for name, count in names.most_common(MOST_NAMED)]
                driver = f"driver {job.get('DriverPid', '?')} on {job.get('DriverIPAddress', '?')}"
                found.append(f"{', '.join(counts)} of {driver}")
        return "; ".join(found)


def _amounts(resources: Mapping[str, float]) -> str:
    """`8 CPUs and 1 GPUs`."""
    text = f"{resources.get('CPU', 0):g} CPUs"
    gpus = resources.get("GPU", 0)
    if gpus:
        text += f" and {gpus:g} GPUs"
    return text
