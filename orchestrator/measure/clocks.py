"""Clocks: what times a block of calls. CPU, CUDA, and the fake that tests use.

A block is a sequence of calls timed as one. On CUDA a block's launches wait behind a spinning
kernel, so that the device runs them back to back and the host's gaps are not timed; a block that
caught up with the host is timed again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from time import (
    perf_counter,  # by value: what an implementation puts in its place is not what it is timed by
)
from typing import TYPE_CHECKING, Any, Protocol

from typing_extensions import override

from orchestrator.measure.launch_ahead import LaunchAhead, Timed
from orchestrator.stats.summary import summarize
from orchestrator.util.quantities import MIB

if TYPE_CHECKING:
    import torch

Call = Callable[[], object]
LEARNT_BYTES = 2**18  # four times what a branch predictor was seen to learn
MOST_CPU_SETS, MOST_CUDA_SETS = 64, 32
FEWEST_COLD = 5  # calls that start from a cold cache, where they are short
SPIN_S = 4e-3  # more than a host takes to launch a call
CYCLES_PER_S = 2e9  # of a GPU, about
# interquartile range of a further figure, in percent of its median, beyond which a note says so
UNSTEADY_PCT = 10.0


class Clock(Protocol):
    """Times blocks of calls.

    Attributes:
        min_block_s: the least that a block should last, in seconds.
        max_calls: the most calls of a block.
        notes: what a reader of the figures should know, found while timing.
    """

    min_block_s: float
    max_calls: int
    notes: list[str]

    def now(self) -> float:
        """Seconds on the clock that budgets are kept by."""

    def time(self, block: Sequence[Call], before: Call | None = None) -> float:
        """Seconds that the calls of a block took together; `before` runs ahead of each call,
        untimed.
        """

    def extras(
        self, calls: Sequence[Call], before: Call | None, budget_s: float
    ) -> dict[str, float]:
        """Further figures in milliseconds per call by name, none of them the latency, in about
        `budget_s` seconds.
        """


class CpuClock(Clock):
    """perf_counter around a block."""

    def __init__(self, min_block_s: float = 0.002, max_calls: int = 1000) -> None:
        self.min_block_s = min_block_s
        self.max_calls = max_calls
        self.notes: list[str] = []

    @override
    def now(self) -> float:
        return perf_counter()

    @override
    def time(self, block: Sequence[Call], before: Call | None = None) -> float:
        if before is not None:
            return sum(self._one(call, before) for call in block)
        start = perf_counter()
        for call in block:
            call()
        return perf_counter() - start

    @override
    def extras(
        self, calls: Sequence[Call], before: Call | None, budget_s: float
    ) -> dict[str, float]:
        return {}

    def _one(self, call: Call, before: Call) -> float:
        before()
        start = perf_counter()
        call()
        return perf_counter() - start


class CudaClock(Clock):
    """CUDA events around a block on the current stream, with the queue kept ahead of the device.

    `time` gives device time with warm caches, less what rotated inputs evict. `extras` gives
    `cold_latency_ms` (the L2 cache overwritten before each call, untimed) and `host_latency_ms`
    (wall clock per call of an eager loop, from an idle device to an idle device).
    """

    def __init__(
        self,
        device: torch.device,
        min_block_s: float = 0.002,
        max_calls: int = 200,
        cold: bool = True,
    ) -> None:
        import torch

        self.min_block_s = min_block_s
        self.max_calls = max_calls
        self.notes: list[str] = []
        self._torch = torch
        self._device = device
        self._cold = cold
        self._head_start = LaunchAhead(max_calls)
        self._cycles_per_s = self._calibrate()

    @override
    def now(self) -> float:
        return perf_counter()

    @override
    def time(self, block: Sequence[Call], before: Call | None = None) -> float:
        seconds = self._head_start.time(
            block, lambda part, ahead_s: self._attempt(part, before, ahead_s)
        )
        if self._head_start.lost:
            self._note("the host could not keep ahead of the device: latency_ms includes its gaps")
        return seconds

    @override
    def extras(
        self, calls: Sequence[Call], before: Call | None, budget_s: float
    ) -> dict[str, float]:
        found = {"host_latency_ms": self._host(calls, before, budget_s / 2)}
        if self._cold:
            found["cold_latency_ms"] = self._flushed(calls, before, budget_s / 2)
        return {name: self._middle_ms(name, seconds) for name, seconds in found.items()}

    def _middle_ms(self, name: str, seconds: Sequence[float]) -> float:
        """The median in milliseconds; a note where the values differ much."""
        summary = summarize(seconds)
        if summary.noise_pct > UNSTEADY_PCT:
            self._note(
                f"{name} is unsteady: interquartile range {summary.noise_pct:.0f} % of the median"
            )
        return 1000 * summary.median

    def _attempt(self, part: Sequence[Call], before: Call | None, ahead_s: float) -> Timed:
        torch = self._torch
        pairs = 1 if before is None else len(part)
        events = [
            (torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True))
            for _ in range(pairs)
        ]
        torch.cuda._sleep(int(ahead_s * self._cycles_per_s))
        began = perf_counter()
        if before is None:
            events[0][0].record()
            for call in part:
                call()
            events[0][1].record()
        else:
            for call, (start, end) in zip(part, events, strict=True):
                before()
                start.record()
                call()
                end.record()
        kept = not events[0][0].query()
        host_s = perf_counter() - began
        events[-1][1].synchronize()
        return Timed(sum(start.elapsed_time(end) for start, end in events) / 1000, host_s, kept)

    def _host(self, calls: Sequence[Call], before: Call | None, budget_s: float) -> Sequence[float]:
        sync = self._torch.cuda.synchronize
        values: list[float] = []
        for count in _rising(self.now, budget_s):
            block = [calls[i % len(calls)] for i in range(min(count, self.max_calls))]
            if before is not None:
                before()
                block = block[:1]
            sync()
            start = perf_counter()
            for call in block:
                call()
            sync()
            values.append((perf_counter() - start) / len(block))
        return values[len(values) // 2 :]

    def _flushed(
        self, calls: Sequence[Call], before: Call | None, budget_s: float
    ) -> Sequence[float]:
        torch = self._torch
        junk = torch.empty(4 * l2_bytes(self._device), dtype=torch.int8, device=self._device)

        def flush() -> None:
            if before is not None:
                before()
            junk.zero_()

        values: list[float] = []
        start = self.now()
        while len(values) < 100:
            spent = self.now() - start
            if values and spent >= (budget_s if len(values) >= FEWEST_COLD else 2 * budget_s):
                break
            values.append(self.time([calls[len(values) % len(calls)]], flush))
        return values

    def _calibrate(self) -> float:
        torch = self._torch
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        torch.cuda._sleep(100_000)
        start.record()
        torch.cuda._sleep(1_000_000)
        end.record()
        end.synchronize()
        return 1e9 / float(start.elapsed_time(end))

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


def _rising(now: Callable[[], float], budget_s: float) -> Iterator[int]:
    """1, 2, 4, ... 64, 64, ... until the budget is spent or 40 values were given; at least two."""
    start, count = now(), 1
    for turn in range(40):
        if turn >= 2 and now() - start > budget_s:
            return
        yield count
        count = min(2 * count, 64)


def l2_bytes(device: torch.device) -> int:
    """Size of the device's L2 cache, or 64 MiB where torch does not say."""
    import torch

    properties: Any = torch.cuda.get_device_properties(device)
    return int(getattr(properties, "L2_cache_size", 0)) or 64 * MIB


def input_sets(bytes_per_set: int, device: torch.device) -> int:
    """How many sets of inputs take turns.

    On CUDA as many as exceed the L2 cache four times. On a CPU as many as hold more values than a
    branch predictor learns: sorting one set of 1,000 float32 again and again takes a quarter of
    the time that it takes on 16 sets in turns, and no less on one set of 16,000.
    """
    wanted, most = LEARNT_BYTES, MOST_CPU_SETS
    if device.type == "cuda":
        wanted, most = 4 * l2_bytes(device), MOST_CUDA_SETS
    return max(1, min(most, -(-wanted // max(bytes_per_set, 1))))


def learnable(bytes_per_set: int, sets: int) -> bool:
    """Whether a CPU may have learnt all sets of inputs, however many of them take turns."""
    return bytes_per_set * sets < LEARNT_BYTES / 4


def spin(device: torch.device, seconds: float = SPIN_S) -> None:
    """Keep a CUDA device busy for a moment, so that what is launched now waits for all of it;
    nothing on a CPU.
    """
    if device.type == "cuda":
        import torch

        torch.cuda._sleep(int(CYCLES_PER_S * seconds))  # type: ignore[no-untyped-call]


class Stopwatch:
    """Times one block of code: on CUDA what it put on the current stream, without waiting for it at
    the end.

    `spin` before it, so that the device does not wait for the host.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._marks: list[Any] = []

    def __enter__(self) -> Stopwatch:
        self._mark()
        return self

    def __exit__(self, *_: object) -> None:
        self._mark()

    def seconds(self) -> float:
        """How long it took; waits for the device."""
        start, end = self._marks
        if self._device.type != "cuda":
            return float(end - start)
        end.synchronize()
        return float(start.elapsed_time(end)) / 1000

    def _mark(self) -> None:
        if self._device.type != "cuda":
            self._marks.append(perf_counter())
            return
        import torch

        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        self._marks.append(event)


class FakeClock(Clock):
    """A clock that makes its own time: each call lasts what `duration` says for its number, counted
    from 0.

    The calls are made, so that tests can count them, and cost nothing on this clock.
    """

    def __init__(
        self,
        duration: Callable[[int], float],
        min_block_s: float = 0.0,
        max_calls: int = 1000,
        **extras: float,
    ) -> None:
        self.min_block_s = min_block_s
        self.max_calls = max_calls
        self.notes: list[str] = []
        self.calls = 0
        self._duration = duration
        self._extras = extras
        self._now = 0.0

    @override
    def now(self) -> float:
        return self._now

    @override
    def time(self, block: Sequence[Call], before: Call | None = None) -> float:
        seconds = 0.0
        for call in block:
            if before is not None:
                before()
            call()
            seconds += self._duration(self.calls)
            self.calls += 1
        self._now += seconds
        return seconds

    @override
    def extras(
        self, calls: Sequence[Call], before: Call | None, budget_s: float
    ) -> dict[str, float]:
        return dict(self._extras)
