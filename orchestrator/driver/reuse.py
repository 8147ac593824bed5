"""Rows that an earlier sweep has measured already, as records of the sweep that asks for them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from orchestrator.driver.attempts import input_seed
from orchestrator.driver.stale import KnownSources
from orchestrator.errors import IndexDamagedError, RequestError
from orchestrator.executors.placement import Node, place
from orchestrator.history.identity import asked
from orchestrator.history.index import Index
from orchestrator.history.known import Hit, Known, Machine, Miss, Wanted
from orchestrator.isolation.ranks import SET_ON_CUDA
from orchestrator.machine import nvml
from orchestrator.machine.environment import describe, usable_cores
from orchestrator.machine.variables import decisive
from orchestrator.plan.sweep import Sweep
from orchestrator.record import TrialRecord, protocol_hash
from orchestrator.trial import Attempt, Trial

Answer = TypeVar("Answer")


class Reuse:
    """What of a sweep is known from other sweeps under the results folder.

    Args:
        sweep: what is asked for.
        device: "cpu" or "cuda".
        environments: of the slots that would measure it, as `environment.describe` gives them.
        sources: the source hashes, and what they stand for.
        directory: of the sweep that asks, which is not looked at.
    """

    def __init__(
        self,
        sweep: Sweep,
        device: str,
        environments: Sequence[Mapping[str, Any]],
        sources: KnownSources,
        directory: Path | None = None,
    ) -> None:
        self._sweep = sweep
        self.sources = sources
        self._protocol = sweep.spec.measure.for_device(device)
        self._machines = []
        for environment in environments:
            card = environment.get("know", {}).get("gpu_uuid")
            self._machines.append(Machine(environment.get("match", {}), str(card or "")))
        self._asked = asked(sweep.spec, device)
        self._directory = directory
        self._index: Index | None = None
        self._known: Known | None = None
        self._hits: dict[str, Hit | None] = {}
        self._records: dict[str, list[TrialRecord]] = {}

    def close(self) -> None:
        """Close the index."""
        if self._index is not None:
            self._index.close()
        self._index = self._known = None

    def hit(self, trial: Trial) -> Hit | None:
        """Where the trial's row is known from; None: it is not."""
        if trial.trial_id in self._hits:
            return self._hits[trial.trial_id]
        wanted = self._wanted(trial)
        hit = self._ask(lambda known: known.find(wanted))
        if hit is not None:
            records = hit.records(wanted)
            if records is None:  # the sweep is not there any more, though the index has it
                hit = None
            else:
                self._records[trial.trial_id] = records
        self._hits[trial.trial_id] = hit
        return hit

    def why_not(self, trial: Trial) -> Miss:
        """What differs from the nearest row, of a trial that is not known."""
        return self._ask(lambda known: known.why_not(self._wanted(trial)))

    def record(self, attempt: Attempt) -> TrialRecord | None:
        """The record that stands for an attempt, as one of its sweep; None: it is to be made."""
        hit = self.hit(attempt.trial)
        if hit is None:
            return None
        held = self._records[attempt.trial.trial_id][attempt.round - 1]
        return held.model_copy(
            update={
                "sweep_id": attempt.sweep_id,
                "attempt": attempt.attempt,
                "reused_from": hit.sweep_id,
                "environment": dict(hit.environment),
            }
        )

    def _ask(self, question: Callable[[Known], Answer]) -> Answer:
        """The answer; an index that turns out to be damaged is made anew, once a question."""
        try:
            return question(self._opened())
        except IndexDamagedError:
            self.close()
            return question(self._opened())

    def _opened(self) -> Known:
        if self._known is None:
            self._index = Index()
            self._known = Known(
                self._index,
                self._machines,
                self._asked,
                self._sweep.base_dir,
                self.sources.all(),
                self._directory,
            )
        return self._known

    def _wanted(self, trial: Trial) -> Wanted:
        spec = self._sweep.spec
        protocols = []
        for number in range(1, spec.measure.repeats + 1):
            seed = input_seed(spec, trial, number)
            protocols.append(protocol_hash(self._protocol, spec.verify, seed))
        return Wanted(trial, self.sources.now[trial.implementation], tuple(protocols))


def device_here(device: str) -> str:
    """What a device means on this machine: "auto" is CUDA where there is a GPU."""
    if device != "auto":
        return device
    return "cuda" if nvml.count() else "cpu"


def environments_here(sweep: Sweep, device: str) -> list[dict[str, Any]]:
    """The environments of the slots that a sweep would have on this machine alone.

    They are those that supervisors describe; neither Ray nor torch is needed to tell.
    """
    spec = sweep.spec.resources
    node = Node("", "", usable_cores(), nvml.count())
    slots = place(
        [node],
        device=device,
        gpus=max(1, max(sweep.gpus(trial) for trial in sweep.trials)),
        cpus=None if spec.cpus == "auto" else spec.cpus,
        max_concurrent=sweep.spec.max_concurrent,
        ranks=max(sweep.ranks(trial) for trial in sweep.trials),
        spread=spec.placement == "spread",
        exclusive=spec.exclusive_node,
    )
    cap = spec.gpu_memory_gib if device == "cuda" else None
    found = []
    for number, slot in enumerate(slots):
        name = f"cuda:{number * max(1, slot.gpus)}" if device == "cuda" else device
        facts = describe(name, cap, slot.cpus)
        if device == "cuda":
            # as a trial's process has them: those that the isolator sets, if the user has not
            variables = decisive(SET_ON_CUDA | os.environ)
            facts = facts | {"match": facts["match"] | {"variables": variables}}
        if facts not in found:
            found.append(facts)
    return found


def refuse_in_turns(sweep: Sweep) -> None:
    """Refuse to take a side of a comparison in turns from elsewhere.

    Raises:
        RequestError: the sweep is one.
    """
    if sweep.spec.reuse and sweep.duel is not None:
        raise RequestError(
            "compare --duel measures both in turns, so that nothing can be reused: leave `reuse` "
            "out"
        )
