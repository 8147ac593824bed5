"""The slots of a RayExecutor: actors on one node or several, what runs there, their points."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.attempt_result import AttemptResult
from orchestrator.executors.base import Observed
from orchestrator.executors.placement import SlotPlan
from orchestrator.isolation.ranks import joined_over_nodes, logs_of_nodes
from orchestrator.machine.observation import Observation
from orchestrator.outcome import Outcome, Phase
from orchestrator.record import ErrorInfo, TrialRecord, log_of, record_of
from orchestrator.spec.axes import ACCELERATOR_NAME
from orchestrator.supervisor.supervisor import SupervisorReport
from orchestrator.trial import Attempt, content_hash


@dataclass
class Slot:
    """A slot and what runs on it.

    Attributes:
        plan: what it takes of which nodes.
        actors: a supervisor for each part of the plan, the first rank's first; none while it is
            closed.
        group: the placement group that a slot over several nodes holds; None: it is on one.
        described: how many supervisors have said what they are; the slot is ready when all have.
        environment: what the first of them said.
        attempt: what runs.
        reports: of the parts that have ended, by part; an attempt over several nodes has several.
        expected: how many parts take part in the attempt.
        stop_at: when the other parts are to be stopped, once one has ended badly.
    """

    index: int
    plan: SlotPlan
    actors: list[Any] = field(default_factory=list)
    group: Any = None
    described: int = 0
    environment: dict[str, Any] = field(default_factory=dict)
    attempt: Attempt | None = None
    started_at: str = ""
    phase: str = ""
    reports: dict[int, SupervisorReport] = field(default_factory=dict)
    expected: int = 0
    stop_at: float = float("inf")

    @property
    def ready(self) -> bool:
        """Whether attempts can be sent to it."""
        return bool(self.actors) and self.described == len(self.actors)

    @property
    def free(self) -> bool:
        """Whether an attempt can start now."""
        return self.ready and self.attempt is None

    def suits(self, attempt: Attempt) -> bool:
        """Whether the attempt is for this slot's model of accelerator, or for any."""
        wanted = self.plan.accelerator
        return not wanted or attempt.trial.params.get(ACCELERATOR_NAME) == wanted

    def stop_unfinished(self) -> None:
        """End the attempt on every node, a moment after it has ended badly on one."""
        if time.monotonic() <= self.stop_at:
            return
        self.stop_at = float("inf")
        for number, actor in enumerate(self.actors):
            if number not in self.reports:
                actor.stop.remote()

    def __str__(self) -> str:
        addresses = [part.node.address for part in self.plan.parts]
        text = f"slot {self.index} on {' and '.join(addresses)}"
        gpus = sum(part.gpus for part in self.plan.parts)
        if gpus:
            text += f" ({gpus} GPUs)"
        return text


def by_model(slots: Iterable[Slot]) -> dict[str, list[int]]:
    """Model of accelerator -> the indexes of its slots."""
    found: dict[str, list[int]] = {}
    for slot in slots:
        found.setdefault(slot.plan.accelerator, []).append(slot.index)
    return found


def stranded_model(queue: Sequence[Attempt], slots: Sequence[Slot]) -> str:
    """The model of accelerator that queued attempts need, if no slot that is left has it.

    "": an attempt runs, or can.
    """
    if not queue:
        return ""
    for slot in slots:
        if slot.attempt is not None or any(map(slot.suits, queue)):
            return ""
    return str(queue[0].trial.params[ACCELERATOR_NAME])


@dataclass
class Calls:
    """Calls that are awaited: object reference -> (method, slot, part of the slot)."""

    waiting: dict[Any, tuple[str, Slot, int]] = field(default_factory=dict)

    def forget(self, slot: Slot) -> None:
        """Drop the calls of this slot: what it answers does not count any more."""
        for ref, (_, called, _) in list(self.waiting.items()):
            if called is slot:
                del self.waiting[ref]


@dataclass
class Points:
    """Which slot measures which point: rows that are compared run on the same card.

    A point goes to the slot with fewest of them when it is first seen, and stays there while the
    slot lives. One whose rows have not begun may go to another that has nothing else to do.
    """

    _slot_of: dict[str, int] = field(default_factory=dict)
    _points_of: Counter[int] = field(default_factory=Counter)
    _begun: set[str] = field(default_factory=set)

    def attempt_for(self, slot: Slot, slots: list[int], queue: Sequence[Attempt]) -> Attempt | None:
        """The first queued attempt whose point is the slot's; else one that it may take over."""
        # most often the first of a queue that may hold thousands
        for attempt in filter(slot.suits, queue):
            if self.take(attempt, slot.index, slots):
                return attempt
        for attempt in filter(slot.suits, queue):
            if self.take_over(attempt, slot.index):
                return attempt
        return None

    def take(self, attempt: Attempt, slot: int, slots: list[int]) -> bool:
        """Whether the slot may run this attempt now; if so its point is the slot's from here on."""
        if len(slots) == 1:  # then every point is its own, and no hash need be made
            return True
        point = content_hash(attempt.trial.params)
        if point not in self._slot_of or self._slot_of[point] not in slots:
            fewest = min(slots, key=lambda index: self._points_of[index])
            self._give(point, fewest)
            self._begun.discard(point)
        if self._slot_of[point] != slot:
            return False
        self._begun.add(point)
        return True

    def take_over(self, attempt: Attempt, slot: int) -> bool:
        """Whether an idle slot may take over this attempt's point: no row of it has begun."""
        point = content_hash(attempt.trial.params)
        if point in self._begun:
            return False
        self._give(point, slot)
        self._begun.add(point)
        return True

    def _give(self, point: str, slot: int) -> None:
        """The point is the slot's from here on, and no other's."""
        if point in self._slot_of:
            self._points_of[self._slot_of[point]] -= 1
        self._slot_of[point] = slot
        self._points_of[slot] += 1


@dataclass(frozen=True)
class AttemptEnd:
    """An attempt that has ended on every node of its slot.

    Attributes:
        result: of the whole attempt.
        log: what it printed, node after node.
        observations: of the nodes' machines, each as JSON.
        unclean: why no other attempt may run on one of the devices; "": it may on all.
    """

    result: AttemptResult
    log: bytes
    observations: list[str]
    unclean: str


def end_of(slot: Slot) -> AttemptEnd:
    """The end of a slot's attempt, from what all its supervisors reported."""
    results: list[AttemptResult] = []
    logs: list[bytes] = []
    observations: list[str] = []
    unclean = ""
    for number in range(slot.expected):
        report = slot.reports[number]
        results.append(AttemptResult.model_validate_json(report.result))
        logs.append(report.log)
        observations += report.observations
        unclean = unclean or report.unclean
    record = joined_over_nodes([result.record for result in results])
    result = results[0].model_copy(update={"record": record})
    result = result.changed(lambda record: record.model_copy(update={"slot": slot.index}))
    return AttemptEnd(result, logs_of_nodes(logs), observations, unclean)


def lost(slot: Slot, attempt: Attempt, reason: str, device: str) -> TrialRecord:
    """The record of an attempt whose supervisor died."""
    node = slot.plan.node
    message = f"the supervisor on {node.address} died: {reason}"
    return record_of(
        attempt,
        Outcome.LOST,
        Phase(slot.phase or Phase.BUILD),
        slot.started_at,
        {},
        error=ErrorInfo.of("SupervisorDied", message, log_of(attempt.trial.trial_id)),
        host=node.address,
        node=node.node_id,
        slot=slot.index,
        device=device,
    )


def reason_of(error: Exception) -> tuple[str, bytes]:
    """Why a call of a supervisor failed, in one line, and all that Ray says of it, for the log.

    Of an exception that the supervisor itself raised Ray makes a coloured traceback.
    """
    whole = re.sub("\x1b\\[[0-9;]*m", "", str(error))
    cause = getattr(error, "cause", None)
    if cause is None:
        line = " ".join(whole.split()) or type(error).__name__
    else:
        line = " ".join(f"it raised {type(cause).__name__}: {cause}".split())
    return line, f"{whole}\n".encode()


def observed(slot: Slot, seen: Iterable[str]) -> list[Observed]:
    """What supervisors saw of their machine, as events."""
    events = []
    for text in seen:
        observation = Observation.model_validate_json(text)
        events.append(Observed(observation.model_copy(update={"slot": slot.index})))
    return events
