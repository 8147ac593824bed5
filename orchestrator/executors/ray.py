"""Runs attempts on Ray: supervisor actors per slot, on this machine or over a cluster.

Why Ray places trials and does not expand or run them: docs/design/ray.md. A slot is one supervisor
on one node, or, for trials over ranks that need several nodes, one on each of them, held together
by a placement group.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from orchestrator.attempt_result import AttemptResult
from orchestrator.errors import UnfitMachineError
from orchestrator.executors.base import Event, Finished, PhaseChanged, SlotLost, SlotReady, Started
from orchestrator.executors.placement import Node, SlotPlan, device_of, no_room, usable_nodes
from orchestrator.executors.quarantine import Quarantine
from orchestrator.executors.ray_supervisor import RaySupervisor
from orchestrator.executors.session import RayOptions, Session
from orchestrator.executors.slot_plans import slot_plans
from orchestrator.executors.slots import (
    Calls,
    Points,
    Slot,
    by_model,
    end_of,
    lost,
    observed,
    reason_of,
    stranded_model,
)
from orchestrator.executors.waiting import Waiting
from orchestrator.isolation.ranks import SETTLE_S, RankSpan
from orchestrator.outcome import Outcome, Phase
from orchestrator.record import utc_now
from orchestrator.supervisor.supervisor import SupervisorReport
from orchestrator.trial import Attempt

PHASE_EVERY_S = 0.5
CONCLUDE_S = 20.0
CONCLUDE_LOOK_S = 0.2
LOOK_FOR_NODES_S = 10.0
PIN = 0.001  # of a node's own resource: a bundle that asks for it goes there and nowhere else


class RayExecutor:
    """The executor of real sweeps; see executors.base.Executor for its methods.

    Args:
        options: what the sweep needs.
        stopped: whether someone waits for this process to end: then the start is given up, and the
            last look.

    Raises:
        UnfitMachineError: no cluster at the address, or no slot on any node for what the sweep
            needs.
        StartStoppedError: `stopped` while Ray started.
    """

    def __init__(self, options: RayOptions, stopped: Callable[[], bool] = lambda: False) -> None:
        self._options = options
        self._queue: deque[Attempt] = deque()
        self._calls = Calls()
        self._points = Points()
        self._quarantine = Quarantine()
        self._slots: list[Slot] = []
        self.accelerators: Sequence[str] = ()
        self._asked_phases = self._looked_for_nodes = 0.0
        self._stopped = stopped
        self._session = Session(load_ray, options, stopped)
        self._ray, self._staging = self._session.ray, self._session.staging
        try:
            nodes = self._nodes()
            self.device = device_of(options.device, nodes)
            plans = self._place(nodes, options.max_concurrent)
            if not plans:
                raise UnfitMachineError(
                    no_room(nodes, self.device, options.gpus, options.ranks, options.accelerator)
                )
            self.accelerators = sorted({plan.accelerator for plan in plans} - {""})
            self._known = {node.node_id for node in nodes}
            self._looked_for_nodes = time.monotonic()
            self._waiting = Waiting(self._ray, self._tables, options.wait_s)
            self._open(plans)
        except BaseException:
            self.close()
            raise

    @property
    def slots(self) -> int:
        """How many attempts can run at once."""
        return len(self._slots)

    def submit(self, attempt: Attempt) -> None:
        """Queue an attempt."""
        self._queue.append(attempt)

    def cancel_queued(self) -> list[Attempt]:
        """Take back what has not started."""
        taken = list(self._queue)
        self._queue.clear()
        return taken

    def poll(self, timeout_s: float) -> list[Event]:
        """The events since the last call; see Executor.poll."""
        if not self._slots:
            raise UnfitMachineError(self._quarantine.refusal())
        stranded = stranded_model(self._queue, self._slots)
        if stranded:
            raise UnfitMachineError(self._quarantine.refusal(stranded))
        events: list[Event] = list(self._dispatch())
        if not any(slot.ready or slot.attempt for slot in self._slots):
            events += self._waiting.note(self._slots[0].plan)
        self._ask_phases()
        self._look_for_nodes()
        for slot in self._slots:
            slot.stop_unfinished()
        if self._calls.waiting:
            wait_s = 0.0 if events else timeout_s
            refs = list(self._calls.waiting)
            done, _ = self._ray.wait(refs, num_returns=len(refs), timeout=0)
            if not done:
                done, _ = self._ray.wait(refs, num_returns=1, timeout=wait_s)
            for ref in done:
                if ref in self._calls.waiting:
                    events += self._answered(ref)
            events += self._dispatch()
        elif not events:
            time.sleep(timeout_s)
        return events

    def conclude(self) -> list[Event]:
        """A last look at the machine by every slot that can be asked."""
        asked = {slot.actors[0].conclude.remote(): slot for slot in self._slots if slot.free}
        deadline = time.monotonic() + CONCLUDE_S
        done: list[Any] = []
        while len(done) < len(asked) and time.monotonic() < deadline and not self._stopped():
            done, _ = self._ray.wait(list(asked), num_returns=len(asked), timeout=CONCLUDE_LOOK_S)
        events: list[Event] = []
        for ref in done:
            with suppress(Exception):  # a supervisor that died now has nothing left to do
                events += observed(asked[ref], self._ray.get(ref))
        return events

    def close(self) -> None:
        """End what runs and leave no process behind; a cluster that was there before stays."""
        slots, self._slots = self._slots, []
        self._calls.waiting.clear()
        for slot in slots:
            self._kill(slot)
        self._session.close()

    def _nodes(self) -> list[Node]:
        """The nodes alive that the sweep may use."""
        return usable_nodes(self._ray.nodes(), self._options.accelerator)

    def _place(self, nodes: list[Node], most: int | None) -> list[SlotPlan]:
        return slot_plans(self._options, self.device, nodes, most, self.accelerators)

    def _open(self, plans: list[SlotPlan]) -> None:
        """A slot for each plan; an index is never given twice, not even that of a closed slot."""
        used = [slot.index for slot in self._slots]
        used += self._quarantine.reasons
        for index, plan in enumerate(plans, start=max(used, default=-1) + 1):
            slot = Slot(index, plan)
            self._slots.append(slot)
            self._start(slot)

    def _start(self, slot: Slot) -> None:
        """New supervisors for the slot; it is ready once each has described itself."""
        slot.described, slot.phase = 0, ""
        strategies = list(self._strategies(slot))
        for part, strategy in zip(slot.plan.parts, strategies, strict=True):
            actor = self._ray.remote(self._supervisor()).options(
                num_cpus=min(part.cpus, part.node.cpus),
                num_gpus=part.gpus,
                max_restarts=0,
                max_task_retries=0,
                max_concurrency=4,
                scheduling_strategy=strategy,
            )
            staged, preload = self._staging is not None, self._options.preload
            supervisor = actor.remote(
                self.device, part.cpus, preload, staged, part.sharing, part.ordinal
            )
            slot.actors.append(supervisor)
        for number in range(len(slot.actors)):
            self._ask("describe", slot, self._options.gpu_memory_gib, part=number)

    def _strategies(self, slot: Slot) -> Iterator[Any]:
        """Each part's placement: on its node; of several nodes on all of them, or on none."""
        from ray.util.scheduling_strategies import (
            NodeAffinitySchedulingStrategy,
            PlacementGroupSchedulingStrategy,
        )

        plan = slot.plan
        if not plan.rest:
            yield NodeAffinitySchedulingStrategy(plan.node.node_id, soft=False)
            return
        bundles = []
        for part in plan.parts:
            bundle = {"CPU": min(part.cpus, part.node.cpus), f"node:{part.node.address}": PIN}
            if part.gpus:
                bundle["GPU"] = part.gpus
            bundles.append(bundle)
        slot.group = self._ray.util.placement_group(bundles, strategy="STRICT_SPREAD")
        for number in range(len(bundles)):
            yield PlacementGroupSchedulingStrategy(slot.group, placement_group_bundle_index=number)

    def _supervisor(self) -> type[RaySupervisor]:
        """The actor of a slot; benchmarks/scale.py has one that runs nothing."""
        return RaySupervisor

    def _kill(self, slot: Slot) -> None:
        for actor in slot.actors:
            self._ray.kill(actor, no_restart=True)
        if slot.group is not None:
            with suppress(Exception):  # its node may be gone
                self._ray.util.remove_placement_group(slot.group)
        slot.actors, slot.group = [], None

    def _ask(self, method: str, slot: Slot, *arguments: Any, part: int = 0) -> None:
        ref = getattr(slot.actors[part], method).remote(*arguments)
        self._calls.waiting[ref] = (method, slot, part)

    def _tables(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Every actor and every job of the cluster, as Ray keeps them for itself."""
        from ray._private.state import state

        return list(state.actor_table(None).values()), list(state.job_table())  # type: ignore[no-untyped-call]

    def _look_for_nodes(self) -> None:
        """Nodes that have joined since are used, as far as `max_concurrent` allows."""
        now = time.monotonic()
        if self._options.address is None or now - self._looked_for_nodes < LOOK_FOR_NODES_S:
            return
        self._looked_for_nodes = now
        new = [node for node in self._nodes() if node.node_id not in self._known]
        if new and self._more_slots() != 0:
            self._known |= {node.node_id for node in new}
            self._open(self._place(new, self._more_slots()))

    def _dispatch(self) -> Iterable[Event]:
        """Start what can start: each point's rows on the slot that has the point."""
        of_model = by_model(self._slots)
        for slot in self._slots:
            if not slot.free or not self._queue:
                continue
            alike = of_model[slot.plan.accelerator]
            taken = self._points.attempt_for(slot, alike, self._queue)
            if taken is None:
                continue
            self._queue.remove(taken)
            slot.attempt, slot.reports = taken, {}
            slot.started_at, slot.phase = utc_now(), ""
            if len(slot.plan.spans(taken.resources.ranks)) > 1:
                self._ask("meet", slot)
            else:
                slot.expected = 1
                self._ask("run", slot, self._sent(taken))
            yield Started(taken, slot.index)

    def _sent(self, attempt: Attempt) -> str:
        if self._staging:
            attempt = self._staging.translate(attempt)
        return attempt.model_dump_json()

    def _run_parts(self, slot: Slot, port: str) -> None:
        """Give each node its ranks; they meet at the first one's address."""
        assert slot.attempt is not None
        ranks = slot.attempt.resources.ranks
        spans = slot.plan.spans(ranks)
        slot.expected, slot.stop_at = len(spans), float("inf")
        sent, meeting = self._sent(slot.attempt), f"tcp://{slot.plan.node.address}:{port}"
        for number, (first, count) in enumerate(spans):
            self._ask("run", slot, sent, RankSpan(first, count, ranks, meeting), part=number)

    def _ask_phases(self) -> None:
        now = time.monotonic()
        if now - self._asked_phases >= PHASE_EVERY_S:
            self._asked_phases = now
            calls = self._calls.waiting.values()
            asked = {slot.index for method, slot, _ in calls if method == "phase"}
            for slot in self._slots:
                if slot.attempt is not None and slot.index not in asked:
                    self._ask("phase", slot)

    def _answered(self, ref: Any) -> list[Event]:
        method, slot, part = self._calls.waiting.pop(ref)
        try:
            answer = self._ray.get(ref)
        except Exception as error:  # noqa: BLE001 - any of Ray's errors: the supervisor is gone
            return self._died(slot, error)
        if method == "describe":
            slot.described += 1
            if part == 0:
                slot.environment = answer
            return [SlotReady(slot.index, slot.environment)] if slot.ready else []
        if method == "phase":
            return self._phase_of(slot, answer)
        if method == "meet":
            self._run_parts(slot, answer)
            return []
        return self._part_ended(slot, part, answer)

    def _phase_of(self, slot: Slot, phase: str) -> list[Event]:
        if slot.attempt is None or not phase or phase == slot.phase:
            return []
        slot.phase = phase
        return [PhaseChanged(slot.attempt, Phase(phase), slot.index)]

    def _part_ended(self, slot: Slot, part: int, report: SupervisorReport) -> list[Event]:
        """The attempt ended on one node; once it has on all, it has."""
        slot.reports[part] = report
        if len(slot.reports) == slot.expected:
            return self._finished(slot)
        record = AttemptResult.model_validate_json(report.result).record
        if record.outcome is not Outcome.OK:
            slot.stop_at = min(slot.stop_at, time.monotonic() + SETTLE_S)
        return []

    def _finished(self, slot: Slot) -> list[Event]:
        """An attempt ended and left its devices clean, or not: then nothing else may run there."""
        attempt, slot.attempt = slot.attempt, None
        slot.stop_at = float("inf")
        assert attempt is not None
        end = end_of(slot)
        finished = Finished.of(attempt, end.result, end.log)
        events: list[Event] = [*observed(slot, end.observations), finished]
        if end.unclean:
            return events + self._fault(slot, attempt, end.unclean, final=self.device == "cuda")
        if finished.record.outcome is Outcome.LOST:
            error = finished.record.error
            reason = "an attempt was lost" if error is None else error.message
            return events + self._fault(slot, attempt, reason)
        self._quarantine.well(slot.index)
        return events

    def _died(self, slot: Slot, error: Exception) -> list[Event]:
        """A supervisor is gone: the slot's attempt is lost, and with a node so is the slot."""
        attempt, slot.attempt = slot.attempt, None
        slot.stop_at = float("inf")
        self._calls.forget(slot)
        self._kill(slot)
        reason, whole = reason_of(error)
        events: list[Event] = []
        if attempt is not None:
            record = lost(slot, attempt, reason, self.device)
            events.append(Finished.of(attempt, AttemptResult.of_end(attempt, record), whole))
        alive = {node.node_id for node in self._nodes()}
        gone = any(part.node.node_id not in alive for part in slot.plan.parts)
        events += self._fault(slot, attempt, f"the supervisor died: {reason}", final=gone)
        if slot in self._slots:
            self._start(slot)
        elif slot.plan.rest:
            self._place_anew()
        return events

    def _place_anew(self) -> None:
        """Make new slots of free nodes, such as the rest of a slot that lost a node."""
        used: set[str] = set()
        for slot in self._slots:
            used.update(part.node.node_id for part in slot.plan.parts)
        free = [node for node in self._nodes() if node.node_id not in used]
        if self._more_slots() != 0:
            self._open(self._place(free, self._more_slots()))

    def _more_slots(self) -> int | None:
        """How many slots there may be besides; None: any number."""
        most = self._options.max_concurrent
        if most is None:
            return None
        return max(0, most - len(self._slots))

    def _fault(
        self, slot: Slot, attempt: Attempt | None, reason: str, final: bool = False
    ) -> list[Event]:
        """Count a fault of the slot; after too many close it: the others take what is queued."""
        trial_id = None if attempt is None else attempt.trial.trial_id
        if not self._quarantine.fault(slot.index, str(slot), reason, trial_id, final):
            return []
        self._slots.remove(slot)
        self._calls.forget(slot)
        self._kill(slot)
        return [SlotLost(slot.index, self._quarantine.reasons[slot.index])]


def load_ray() -> Any:
    """Import Ray."""
    import ray

    return ray
