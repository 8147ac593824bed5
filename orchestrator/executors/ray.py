"""Executes attempts on Ray core: one supervisor actor per slot, here or over a cluster. Nothing else imports ray.

Why Ray places trials and does not expand or run them: docs/design/ray.md.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from orchestrator.errors import UnfitMachineError
from orchestrator.executors.base import (
    Event,
    Finished,
    Observed,
    PhaseChanged,
    SlotLost,
    SlotReady,
    Started,
)
from orchestrator.executors.placement import Node, SlotPlan, place
from orchestrator.executors.quarantine import Quarantine
from orchestrator.executors.session import RayOptions, Session
from orchestrator.machine.observation import Observation
from orchestrator.outcome import Outcome, Phase
from orchestrator.record import ErrorInfo, TrialRecord, log_of, record_of, utc_now
from orchestrator.supervisor.supervisor import Supervisor
from orchestrator.trial import Attempt

PHASE_EVERY_S = 0.5
CONCLUDE_S = 20.0
CONCLUDE_LOOK_S = 0.2


@dataclass
class _Slot:
    """A slot and what runs on it."""

    index: int
    plan: SlotPlan
    actor: Any = None
    ready: bool = False
    attempt: Attempt | None = None
    started_at: str = ""
    phase: str = ""

    def __str__(self) -> str:
        where = f"slot {self.index} on {self.plan.node.address}"
        return f"{where} ({self.plan.gpus} GPUs)" if self.plan.gpus else where


@dataclass
class _Calls:
    """Answers that are awaited: object reference -> (what was asked, of which slot)."""

    waiting: dict[Any, tuple[str, _Slot]] = field(default_factory=dict)

    def forget(self, slot: _Slot) -> None:
        self.waiting = {ref: call for ref, call in self.waiting.items() if call[1] is not slot}


class RayExecutor:
    """The executor of real sweeps; see executors.base.Executor for its methods.

    Args:
        options: what the sweep needs.
        stopped: whether someone waits for this process to end: then the start is given up, and the last look.

    Raises:
        UnfitMachineError: no cluster at the address, or no slot on any node for what the sweep needs.
        StartStoppedError: `stopped` while Ray started.
    """

    def __init__(self, options: RayOptions, stopped: Callable[[], bool] = lambda: False) -> None:
        self._options = options
        self._queue: deque[Attempt] = deque()
        self._calls = _Calls()
        self._quarantine = Quarantine()
        self._asked_phases = 0.0
        self._stopped = stopped
        self._session = Session(_load_ray, options, stopped)
        self._ray, self._staging = self._session.ray, self._session.staging
        try:
            nodes = self._nodes()
            self.device = _device(options.device, nodes)
            self._slots = [_Slot(index, plan) for index, plan in enumerate(self._place(nodes))]
            self._sharing = Counter(slot.plan.node.node_id for slot in self._slots)
            for slot in self._slots:
                self._start(slot)
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
        events: list[Event] = list(self._dispatch())
        self._ask_phases()
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
        idle = [slot for slot in self._slots if slot.ready and slot.attempt is None]
        asked = {slot.actor.conclude.remote(): slot for slot in idle}
        deadline = time.monotonic() + CONCLUDE_S
        done: list[Any] = []
        while len(done) < len(asked) and time.monotonic() < deadline and not self._stopped():
            done, _ = self._ray.wait(list(asked), num_returns=len(asked), timeout=CONCLUDE_LOOK_S)
        events: list[Event] = []
        for ref in done:
            with suppress(Exception):  # a supervisor that died now has nothing left to do
                events += _observed(asked[ref], self._ray.get(ref))
        return events

    def close(self) -> None:
        """End what runs and leave no process behind; a cluster that was there before stays."""
        slots, self._slots = getattr(self, "_slots", []), []
        self._calls.waiting.clear()
        for slot in slots:
            self._kill(slot)
        self._session.close()

    def _nodes(self) -> list[Node]:
        return [
            Node(
                node["NodeID"],
                node["NodeManagerAddress"],
                int(node["Resources"].get("CPU", 0)),
                int(node["Resources"].get("GPU", 0)),
            )
            for node in self._ray.nodes()
            if node["Alive"]
        ]

    def _place(self, nodes: list[Node]) -> list[SlotPlan]:
        options = self._options
        plans = place(
            nodes, device=self.device, gpus=options.gpus, cpus=options.cpus, max_concurrent=options.max_concurrent
        )
        if not plans:
            found = ", ".join(f"{node.address}: {node.cpus} CPUs, {node.gpus} GPUs" for node in nodes) or "no node"
            raise UnfitMachineError(
                f"a trial needs {options.gpus} GPUs on one node, and there is none with them ({found})"
            )
        return plans

    def _start(self, slot: _Slot) -> None:
        """A new supervisor for the slot; the slot is ready once it has described itself."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        plan = slot.plan
        actor = self._ray.remote(RaySupervisor).options(
            num_cpus=min(plan.cpus, plan.node.cpus),
            num_gpus=plan.gpus,
            max_restarts=0,
            max_task_retries=0,
            max_concurrency=4,
            scheduling_strategy=NodeAffinitySchedulingStrategy(plan.node.node_id, soft=False),
        )
        slot.actor = actor.remote(
            self.device, plan.cpus, self._options.preload, self._staging is not None, self._sharing[plan.node.node_id]
        )
        slot.ready, slot.phase = False, ""
        self._ask("describe", slot, self._options.gpu_memory_gib)

    def _kill(self, slot: _Slot) -> None:
        if slot.actor is not None:
            self._ray.kill(slot.actor, no_restart=True)
        slot.actor = None

    def _ask(self, method: str, slot: _Slot, *arguments: Any) -> None:
        self._calls.waiting[getattr(slot.actor, method).remote(*arguments)] = (method, slot)

    def _dispatch(self) -> Iterable[Event]:
        for slot in self._slots:
            if self._queue and slot.ready and slot.attempt is None:
                slot.attempt = self._queue.popleft()
                slot.started_at, slot.phase = utc_now(), ""
                sent = self._staging.translate(slot.attempt) if self._staging else slot.attempt
                self._ask("run", slot, sent.model_dump_json())
                yield Started(slot.attempt, slot.index)

    def _ask_phases(self) -> None:
        now = time.monotonic()
        if now - self._asked_phases >= PHASE_EVERY_S:
            self._asked_phases = now
            asked = {slot.index for method, slot in self._calls.waiting.values() if method == "phase"}
            for slot in self._slots:
                if slot.attempt is not None and slot.index not in asked:
                    self._ask("phase", slot)

    def _answered(self, ref: Any) -> list[Event]:
        method, slot = self._calls.waiting.pop(ref)
        try:
            answer = self._ray.get(ref)
        except Exception as error:  # noqa: BLE001 - Ray has many classes of them; each means a supervisor gone
            return self._died(slot, error)
        if method == "describe":
            slot.ready = True
            return [SlotReady(slot.index, answer)]
        if method == "phase":
            return self._phase_of(slot, answer)
        return self._finished(slot, answer)

    def _phase_of(self, slot: _Slot, phase: str) -> list[Event]:
        if slot.attempt is None or not phase or phase == slot.phase:
            return []
        slot.phase = phase
        return [PhaseChanged(slot.attempt, Phase(phase), slot.index)]

    def _finished(self, slot: _Slot, answer: tuple[str, bytes, list[str], str]) -> list[Event]:
        """An attempt ended and left its device clean, or not: then nothing else may run there."""
        text, log, seen, unclean = answer
        attempt, slot.attempt = slot.attempt, None
        assert attempt is not None
        record = TrialRecord.model_validate_json(text)
        events: list[Event] = [*_observed(slot, seen), Finished(attempt, record, log)]
        if unclean:
            return events + self._fault(slot, attempt, unclean, final=self.device == "cuda")
        if record.outcome is Outcome.LOST:
            return events + self._fault(slot, attempt, record.error.message if record.error else "an attempt was lost")
        self._quarantine.well(slot.index)
        return events

    def _died(self, slot: _Slot, error: Exception) -> list[Event]:
        """The supervisor is gone: its attempt is lost, and with its node so is the slot."""
        attempt, slot.attempt = slot.attempt, None
        self._calls.forget(slot)
        self._kill(slot)
        reason = " ".join(str(error).split()) or type(error).__name__
        events: list[Event] = [] if attempt is None else [Finished(attempt, self._lost(slot, attempt, reason))]
        gone = not self._is_alive(slot.plan.node)
        events += self._fault(slot, attempt, f"the supervisor died: {reason}", final=gone)
        if slot in self._slots:
            self._start(slot)
        return events

    def _fault(self, slot: _Slot, attempt: Attempt | None, reason: str, final: bool = False) -> list[Event]:
        """A strike against the slot; when it is one too many, the slot is closed and the others take what is queued."""
        trial_id = None if attempt is None else attempt.trial.trial_id
        if not self._quarantine.fault(slot.index, str(slot), reason, trial_id, final):
            return []
        self._slots.remove(slot)
        self._calls.forget(slot)
        self._kill(slot)
        return [SlotLost(slot.index, self._quarantine.reasons[slot.index])]

    def _is_alive(self, node: Node) -> bool:
        return any(alive.node_id == node.node_id for alive in self._nodes())

    def _lost(self, slot: _Slot, attempt: Attempt, reason: str) -> TrialRecord:
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
            device=self.device,
        )


def _load_ray() -> Any:
    import ray

    return ray


def _observed(slot: _Slot, seen: Iterable[str]) -> list[Event]:
    found = (Observation.model_validate_json(text) for text in seen)
    return [Observed(one.model_copy(update={"slot": slot.index})) for one in found]


class RaySupervisor(Supervisor):
    """A Supervisor as a Ray actor: its GPUs are those that Ray gave it."""

    def __init__(self, device: str, cpus: int, preload: tuple[str, ...], staged: bool, slots: int) -> None:
        import ray

        gpus = ",".join(str(gpu) for gpu in ray.get_gpu_ids())
        super().__init__(device, cpus, gpus, preload, staged, slots)


def _device(wanted: str, nodes: Iterable[Node]) -> str:
    has_gpu = any(node.gpus for node in nodes)
    if wanted == "cuda" and not has_gpu:
        raise UnfitMachineError("--device cuda: Ray sees no GPU; `orchestrator doctor` tells why")
    if wanted == "auto":
        return "cuda" if has_gpu else "cpu"
    return wanted
