"""Clocks of ranks: all start a block together, and it lasts as long as it does on the slowest.

Each rank times its own block from its own start, after all have been aligned: on CUDA on the
device, by a collective of one element ahead of the first call. A rank that comes late to a block
therefore lengthens no other's; one that works longer does, where the others wait for it, and where
they do not it is the slowest itself.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from orchestrator.measure.clocks import Call, Clock, CpuClock, CudaClock
from orchestrator.measure.launch_ahead import LaunchAhead, Timed
from orchestrator.measure.protocol import collector_off
from orchestrator.worker.distributed.rank_calls import RankedCall, Share
from orchestrator.worker.distributed.team import Team

if TYPE_CHECKING:
    import torch

HOST_BLOCKS = 12  # blocks that the host-side figure is the median of


class RankTimer:
    """Times a block of this rank's calls; every rank has one and uses it at the same time."""

    def __init__(self, share: Share) -> None:
        self._share = share
        self._cpu = CpuClock()
        self.cuda = _AlignedCuda(share.team.device) if share.team.device.type == "cuda" else None

    def block(self, numbers: Sequence[int], ahead_s: float) -> Timed:
        """Seconds from this rank's start to its end; `ahead_s` as by `LaunchAhead`."""
        calls = [self._share.calls[number] for number in numbers]
        with collector_off(collect=False):
            self._share.team.align()
            if self.cuda is not None:
                return self.cuda.aligned(calls, ahead_s)
            return Timed(self._cpu.time(calls), 0.0, kept=True)

    def host(self, numbers: Sequence[int]) -> float:
        """Wall-clock seconds of a block from an idle device to an idle device."""
        import torch

        calls = [self._share.calls[number] for number in numbers]
        with collector_off(collect=False):
            torch.cuda.synchronize()
            self._share.team.align()
            start = perf_counter()
            for call in calls:
                call()
            torch.cuda.synchronize()
            return perf_counter() - start


class _AlignedCuda(CudaClock):
    """A CUDA clock whose blocks begin behind a collective of all ranks."""

    def __init__(self, device: torch.device) -> None:
        super().__init__(device, cold=False)
        self._one = self._torch.zeros(1, device=device)

    def aligned(self, calls: Sequence[Call], ahead_s: float) -> Timed:
        """The device waits `ahead_s` seconds, then for the other ranks' devices, then runs the
        calls.
        """
        import torch.distributed as dist

        torch = self._torch
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        torch.cuda._sleep(int(ahead_s * self._cycles_per_s))
        dist.all_reduce(self._one)
        began = perf_counter()
        start.record()
        for call in calls:
            call()
        end.record()
        kept = not start.query()
        host_s = perf_counter() - began
        end.synchronize()
        return Timed(start.elapsed_time(end) / 1000, host_s, kept)


class RankedClock(Clock):
    """The clock that rank 0 measures with: an order to all ranks, and the slowest one's time.

    `extras` gives `fastest_rank_ms` (median over blocks of the fastest rank's time) and
    `rank_skew_ms` (of slowest less fastest), per call; on CUDA also `host_latency_ms`, the slowest
    rank's.
    """

    def __init__(self, share: Share, timer: RankTimer) -> None:
        self.notes: list[str] = []
        self._share = share
        self._timer = timer
        self._team: Team = share.team
        self._spans_ms: list[tuple[float, float]] = []  # (fastest, slowest) of each block, per call
        inner: Clock = CpuClock() if timer.cuda is None else timer.cuda
        self.min_block_s, self.max_calls = inner.min_block_s, inner.max_calls
        self._ahead = LaunchAhead(inner.max_calls)

    @override
    def now(self) -> float:
        return perf_counter()

    @override
    def time(self, block: Sequence[Call], before: Call | None = None) -> float:
        if before is not None:
            raise ValueError("calls of ranks are timed without anything between them")
        if self._timer.cuda is None:
            seconds = self._block(block, 0.0).seconds
        else:
            seconds = self._ahead.time(block, self._block)
            if self._ahead.lost:
                self._note(
                    "the host could not keep ahead of the device: latency_ms includes its gaps"
                )
        for call in {call.number: call for call in _ranked(block)}.values():
            if call.kept is not None:
                call.leading.put_together(call.kept, call.number)
        return seconds

    @override
    def extras(
        self, calls: Sequence[Call], before: Call | None, budget_s: float
    ) -> dict[str, float]:
        """Of the blocks timed so far; the first half of them, warm-up among it, does not count."""
        spans = self._spans_ms[len(self._spans_ms) // 2 :]
        found = {
            "fastest_rank_ms": statistics.median(fastest for fastest, _ in spans),
            "rank_skew_ms": statistics.median(slowest - fastest for fastest, slowest in spans),
        }
        if self._timer.cuda is not None:
            found["host_latency_ms"] = self._host_ms(calls, budget_s)
        return found

    def _block(self, block: Sequence[Call], ahead_s: float) -> Timed:
        """All ranks make the calls; the block's seconds are the slowest rank's."""
        numbers = [call.number for call in _ranked(block)]
        self._team.tell(("time", numbers, ahead_s))
        every = self._team.collect(tuple(self._timer.block(numbers, ahead_s)))
        seconds = [timed[0] for timed in every]
        kept = all(timed[2] for timed in every)
        if kept or ahead_s == 0:
            per_call = 1000 / len(numbers)
            self._spans_ms.append((min(seconds) * per_call, max(seconds) * per_call))
        return Timed(max(seconds), max(timed[1] for timed in every), kept)

    def _host_ms(self, calls: Sequence[Call], budget_s: float) -> float:
        values: list[float] = []
        start = self.now()
        count = 8
        while len(values) < 2 or (len(values) < HOST_BLOCKS and self.now() - start < budget_s):
            in_turn = [calls[turn % len(calls)] for turn in range(count)]
            numbers = [call.number for call in _ranked(in_turn)]
            self._team.tell(("host", numbers))
            values.append(1000 * max(self._team.collect(self._timer.host(numbers))) / count)
        return statistics.median(values)

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


def _ranked(block: Sequence[Call]) -> list[RankedCall]:
    calls: list[Any] = list(block)
    assert all(isinstance(call, RankedCall) for call in calls)
    return calls
