"""A trial over ranks, in each rank's process: rank 0 goes through the stages, the others do as it
says.

Every decision is rank 0's (how many calls, whether an output is right, when to stop), so that no
two ranks ever wait for different things. A rank that raises ends with its own record; the
supervisor then ends the others.
"""

from __future__ import annotations

import statistics
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from orchestrator.measure.clocks import Clock, input_sets
from orchestrator.measure.memory import NOTHING_KNOWN, CudaPeak, Figures, release
from orchestrator.measure.protocol import Measurement, collector_off
from orchestrator.outcome import Outcome, Phase
from orchestrator.trial import Attempt
from orchestrator.usercode.implementation import AttemptEndedError, Implementation
from orchestrator.worker.as_timed import AFTER_SHARE
from orchestrator.worker.distributed.rank_calls import Leading, RankedCall, Share
from orchestrator.worker.distributed.rank_clock import RankedClock, RankTimer
from orchestrator.worker.distributed.sent_bytes import sent_bytes
from orchestrator.worker.distributed.team import Team
from orchestrator.worker.resolved import opened
from orchestrator.worker.stages import Stages
from orchestrator.worker.trial_end import TrialEnd, agreed
from orchestrator.workload import Config

if TYPE_CHECKING:
    import torch

ONCE_MORE = 3  # calls of a block whose last output is looked at, at least
# of values, each called as new and as met; and how many times as long new ones take
SETS, REMEMBERS = 6, 2.0
LAST_WORD_S = 1.0  # that rank 0 waits for the others to hear that it is over


def run(attempt: Attempt, enter: Callable[[Phase], None]) -> TrialEnd:
    """This rank's end: of rank 0 that of the attempt, of another that it ended well.

    Raises:
        AttemptEndedError: every other outcome.
    """
    if attempt.rival is not None:
        text = (
            "two implementations over ranks cannot be timed interleaved yet: run each and compare "
            "the sweeps"
        )
        raise AttemptEndedError(Outcome.UNSUPPORTED, "NotImplementedError", text)
    stages = RankStages(attempt, enter)
    stages.join()
    if not stages.team.leads:
        stages.follow()
        return TrialEnd(Outcome.OK)
    try:
        return stages.to_end()
    finally:
        stages.dismiss()


@dataclass
class RankStages(Stages):
    """The stages of one rank.

    Attributes:
        team, share, timer: there once it has joined, built, and is timed.
    """

    def join(self) -> None:
        """Import what the trial names, and meet the other ranks."""
        self._resolve()
        if self.workload.shard is None or self.workload.gather is None:
            raise AttemptEndedError(
                Outcome.FAILED,
                "InvalidWorkload",
                f"workload {self.workload.name} states shard or gather, not both",
            )
        device = opened(self.config)
        self.team = Team.join(device, self.attempt.resources.timeout_s)
        named = {
            name: value
            for name, value in self.config.__dict__.items()
            if name not in ("device", "options")
        }
        ranked = {**named, "rank": self.team.rank, "world_size": self.team.world_size}
        self.config = Config(ranked, str(device), self.config.options)

    def dismiss(self) -> None:
        """Tell the others that it is over; of one that does not listen, the supervisor makes an
        end.
        """
        telling = threading.Thread(target=self._tell, args=(("stop",),), daemon=True)
        telling.start()
        telling.join(LAST_WORD_S)

    def _tell(self, order: tuple[Any, ...]) -> None:
        with suppress(Exception):  # the others may be gone
            self.team.tell(order)

    @override
    def ready(self) -> None:
        entered = self.enter

        def enter(phase: Phase) -> None:
            entered(phase)
            self.team.tell(("phase", str(phase)))

        self.enter = enter
        super().ready()
        self.figures["first_call_ms"] = 1000 * max(self.team_figures(("first_call",)))
        if self.gpu_peak is None:
            self.figures |= _largest(self.team_figures(("memory_of_first_call",)))

    def team_figures(self, order: tuple[Any, ...]) -> list[Any]:
        """What every rank answers to an order, this one among them."""
        self.team.tell(order)
        return self.team.collect(self._answer(order))

    @override
    def _resolve(self) -> None:
        if not hasattr(self, "team"):  # `join` has resolved it, and the config has the rank since
            super()._resolve()

    @override
    def _build(self) -> Implementation:
        built = super()._build()
        self.share = Share(built, self.team)
        self.timer = RankTimer(self.share)
        if not self.team.leads:
            return built
        leading = Leading.of(self.share, self.workload)
        self.caller.implementation = leading
        return leading

    @override
    def input_sets(self) -> int:
        made = self.first_call.bytes_in + self.first_call.bytes_out
        return input_sets(made // self.team.world_size, self.config.device)

    @override
    def clock(self) -> Clock:
        return RankedClock(self.share, self.timer)

    @override
    def verify_again(self, measurement: Measurement) -> None:
        leading = self.subject
        assert isinstance(leading, Leading)
        for inputs in self.rotated.sets:
            leading.check_unchanged(inputs)
        super().verify_again(measurement)

    @override
    def _judged_as_timed(self, length: int) -> None:
        """The last output of a block: all ranks make a block by one order, so that no call of it is
        another's.
        """
        leading, inputs = self.subject, self.rotated.sets[0]
        assert isinstance(leading, Leading)
        kept: list[torch.Tensor] = []
        call = leading.timed(inputs, self.upstream(inputs), kept)
        with collector_off(collect=False):
            self.clock().time([call] * max(length, ONCE_MORE))
        verdict = self.verifier.judge_timed(
            kept[-1].detach(), inputs, inputs, ("timed", 0), AFTER_SHARE
        )
        agreed(verdict, "as it is timed: ")

    @override
    def _look_for_memory(self, used: tuple[torch.Tensor, ...], timed_s: float) -> None:
        """Whether calls on values that were met take less than half the time of calls on new ones,
        on every rank.

        By the clock of ranks, as what moves inputs and outputs between them is not the
        implementation's. Of one that remembers each new set takes longer than met ones do; what
        disturbs the machine does not fall on all of them.
        """
        leading, clock = self.subject, self.clock()
        assert isinstance(leading, Leading)
        call = leading.timed(used, self.upstream(used))
        for trial in range(2):
            new: list[float] = []
            met: list[float] = []
            for seconds in (new, met):
                for number in range(SETS):
                    leading.refill(used, self.caller.inputs("turns", trial, number))
                    seconds.append(clock.time([call]))
            usual_met, fastest_new = statistics.median(met), min(new)
            if fastest_new <= REMEMBERS * usual_met:
                return
        raise AttemptEndedError(
            Outcome.MISMATCH,
            "Mismatch",
            "it remembers answers by the values of its inputs: a call takes "
            f"{1000 * fastest_new:.3g} ms or more on new values, {1000 * usual_met:.3g} ms on "
            "those it has met",
        )

    @override
    def forget_inputs(self) -> None:
        super().forget_inputs()
        self.team.tell(("forget",))
        self.share.forget()

    @override
    def _host_memory(self) -> Figures:
        """The first call's, as no later one is looked at: the most of any rank."""
        self._count_bytes()
        return {name: self.figures[name] for name in NOTHING_KNOWN}

    @override
    def _gpu_memory(self, peak: CudaPeak) -> Figures:
        self._count_bytes()
        self.forget_inputs()
        call = self._ranked_call()
        return _largest(self.team_figures(("memory", call.number)))

    def _count_bytes(self) -> None:
        """Bytes that a rank hands to others in one call: the most of any."""
        call = self._ranked_call()
        self.figures["sent_bytes_per_rank"] = max(self.team_figures(("bytes", call.number)))

    def _ranked_call(self) -> RankedCall:
        """As it is timed, on inputs of its own."""
        inputs = self.caller.inputs("memory")
        call = self.subject.timed(inputs, self.upstream(inputs))
        assert isinstance(call, RankedCall)
        return call

    def follow(self) -> None:
        """Build this rank's share, then do as rank 0 says until it says stop."""
        import torch

        device = self.config.device
        self.gpu_peak = CudaPeak(device) if device.type == "cuda" else None
        self._capped(True)
        self._build()
        capped = True
        with torch.set_grad_enabled(self.share.built.backward):
            while (order := self.team.tell(None))[0] != "stop":
                if order == ("phase", str(Phase.VERIFY)) and capped:
                    self._capped(False)
                    capped = False
                self._obey(order)

    def _obey(self, order: tuple[Any, ...]) -> None:
        share, team = self.share, self.team
        kind, *rest = order
        if kind == "phase":
            self.enter(Phase(rest[0]))
            release(self.config.device)
        elif kind == "load":
            share.load(rest[0], self._received(rest[-1]))
        elif kind == "call":
            team.gather([share.call(rest[0])])
        elif kind == "gradients":
            (upstream,) = self._received(rest[-1])
            found = share.gradients(rest[0], upstream)
            team.gather([found[name] for name in share.gradient_names])
        elif kind == "prepare":
            number, of, keeps, described = rest
            given = None if described is None else self._received(described)[0]
            share.prepare(number, of, given, keeps)
        elif kind == "unchanged":
            share.unchanged(rest[0], self._received(rest[-1]))
        elif kind == "outputs":
            team.gather([share.kept[rest[0]][-1]])
        elif kind == "forget":
            share.forget()
        elif kind == "once":
            share.calls[rest[0]]()
        elif kind == "time":
            team.collect(tuple(self.timer.block(*rest)))
        elif kind == "host":
            team.collect(self.timer.host(*rest))
        else:
            team.collect(self._answer(order))

    def _received(self, described: Any) -> list[torch.Tensor]:
        return self.team.receive(described[self.team.rank], 0)

    def _answer(self, order: tuple[Any, ...]) -> Any:
        """This rank's figure."""
        kind, *rest = order
        if kind == "first_call":
            return self.share.first_call_s
        if kind == "memory_of_first_call":
            return self.share.memory
        if kind == "bytes":
            return sent_bytes(self.share.calls[rest[0]], self.team.world_size)
        assert kind == "memory"
        assert self.gpu_peak is not None
        return self.gpu_peak.figures(self.share.calls[rest[0]])


def _largest(figures: list[Figures]) -> Figures:
    """Each figure's largest value over ranks; None where any is not known."""
    found: Figures = {}
    for name in NOTHING_KNOWN:
        values = [one[name] for one in figures]
        known = [value for value in values if value is not None]
        found[name] = max(known) if len(known) == len(values) else None
    return found
