"""What a device can do, measured: its matmul rate by precision and its copy rate; and whether it still can.

`measure_ceilings` and `measure_sentinel` use the device, so they belong into a process of their own, like a trial; the
caller keeps what they return. Rates are those of the fastest repetition: a ceiling is what was reached once.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import TYPE_CHECKING, Any

from orchestrator.model import FrozenModel
from orchestrator.spec.models import MeasureProtocol
from orchestrator.workload import Work

if TYPE_CHECKING:
    import torch

    from orchestrator.measure.protocol import Measurement

PROTOCOLS = {
    "cuda": MeasureProtocol(warmup_s=0.3, min_time_s=0.2, max_time_s=0.5, min_repetitions=10, target_ci=0.005),
    "cpu": MeasureProtocol(warmup_s=0.02, min_time_s=0.1, max_time_s=0.2, min_repetitions=3, target_ci=0.02),
}
MATMUL_SIZES = {
    "cuda": {"float64": 4096, "float32": 4096, "tf32": 8192, "float16": 8192, "bfloat16": 8192},
    "cpu": {"float64": 1024, "float32": 1024, "tf32": 1024, "float16": 256, "bfloat16": 256},
}
COPY_BYTES = {"cuda": 2**29, "cpu": 2**27}  # beyond any cache that matters; a multiple of 1 MiB
WIDER = {"float16": ("float32",), "bfloat16": ("float32",), "tf32": ("float32",)}  # may be computed in these instead
MARGIN = {"cuda": 1.1, "cpu": 1.5}  # a CPU's rates depend on its neighbours and on how well a matmul's size suits it
MAX_MACHINE_DRIFT = {"cuda": 0.02, "cpu": 0.15}
UNKNOWN_CACHE = 64 * 2**20
SHORT_MATMUL, SHORT_COPY = 256, 2**22  # half a millisecond of one core: less than its turn, however many want it
SHORT_LOOK_S = 0.3


class Ceilings(FrozenModel):
    """What one device was seen to do.

    Attributes:
        device: "cpu" or "cuda".
        matmul_flops_per_s: by precision (float64, float32, tf32, float16, bfloat16).
        copy_bytes_per_s: bytes read plus bytes written.
        cache_bytes: the last cache's size; data within it may move faster than copies do.
    """

    device: str
    matmul_flops_per_s: dict[str, float]
    copy_bytes_per_s: float
    cache_bytes: int

    def share(self, work: Work, seconds: float, precision: str, gpus: int = 1) -> float | None:
        """The time that useful work takes at the ceilings over the time it took; None for a precision not measured."""
        matmul = self._matmul(precision)
        return None if matmul is None else max(work.flops / matmul, self._moving(work)) / gpus / seconds

    def impossible(self, work: Work, seconds: float, precision: str, gpus: int = 1) -> str | None:
        """Why no call that does this work can last only `seconds` on this device, or None if it can.

        Ceilings may have been measured while the device was disturbed: measure them again and merge before a verdict.
        """
        margin, matmul = MARGIN[self.device], self._matmul(precision)
        flops = work.flops if work.needed_flops is None else work.needed_flops
        if matmul is not None and flops / seconds > margin * gpus * matmul:
            return _too_fast(flops / seconds / gpus, matmul, f"FLOP/s in {precision}", "matmul")
        if self._moving(work) > margin * gpus * seconds:
            return _too_fast(work.bytes / seconds / gpus, self.copy_bytes_per_s, "B/s", "copy")
        return None

    def merged(self, other: Ceilings) -> Ceilings:
        """The higher of each rate: what was reached in either measurement can be reached."""
        names = {*self.matmul_flops_per_s, *other.matmul_flops_per_s}
        pairs = {
            name: (self.matmul_flops_per_s.get(name, 0.0), other.matmul_flops_per_s.get(name, 0.0)) for name in names
        }
        return self.model_copy(
            update={
                "matmul_flops_per_s": {name: max(pair) for name, pair in sorted(pairs.items())},
                "copy_bytes_per_s": max(self.copy_bytes_per_s, other.copy_bytes_per_s),
            }
        )

    def _matmul(self, precision: str) -> float | None:
        rates = [self.matmul_flops_per_s.get(name) for name in (precision, *WIDER.get(precision, ()))]
        return max((rate for rate in rates if rate is not None), default=None) if rates[0] is not None else None

    def _moving(self, work: Work) -> float:
        """Seconds at the copy rate; 0 for data that the caches may hold."""
        return work.bytes / self.copy_bytes_per_s if work.bytes > 2 * self.cache_bytes else 0.0


def _too_fast(rate: float, ceiling: float, unit: str, what: str) -> str:
    return (
        f"faster than this device can be: {rate:.3g} {unit}, but its own {what} reaches {ceiling:.3g} {unit}; "
        "the work was not done, or not within the time measured"
    )


class Sentinel(FrozenModel):
    """A fixed matmul and a fixed copy, timed to see whether the machine itself has changed; milliseconds per call."""

    at: str
    matmul_ms: float
    copy_ms: float


def machine_drift(sentinels: Sequence[Sentinel], device: str) -> str | None:
    """A sentence if the machine changed by more than its kind may between the fastest and the slowest sentinel."""
    for name in ("matmul_ms", "copy_ms"):
        values = [getattr(sentinel, name) for sentinel in sentinels]
        if values and max(values) > (1 + MAX_MACHINE_DRIFT[device]) * min(values):
            change = max(values) / min(values) - 1
            span = f"{min(values):.4g} to {max(values):.4g}"
            return f"the machine itself drifted: the sentinels' {name} went from {span} (+{change:.0%})"
    return None


def measure_ceilings(device: str, precisions: Sequence[str]) -> Ceilings:
    """Measure the ceilings of "cpu" or "cuda[:i]" for some precisions; seconds per precision at most one or two."""
    import torch

    where = torch.device(device)
    wanted = dict.fromkeys(name for precision in precisions for name in (precision, *WIDER.get(precision, ())))
    rates = {name: _matmul_rate(where, name) for name in wanted}
    count = max(COPY_BYTES[where.type], min(2 * cache_bytes(where), 2**29)) // 2**20 * 2**20
    seconds = min(_timed(where, _copy(where, count)).values_ms) / 1000
    return Ceilings(
        device=where.type,
        matmul_flops_per_s=rates,
        copy_bytes_per_s=2 * count / seconds,
        cache_bytes=cache_bytes(where),
    )


def measure_bounds(device: str, precisions: Sequence[str]) -> Ceilings:
    """Ceilings to pass a verdict by: never lower than those measured now, and those of a CPU with every core its own.

    Beside other processes all threads together seldom run undisturbed for as long as a large product takes. A small
    one by a single thread does, now and then; the fastest of many, times the threads, is what the cores could do.
    """
    import torch

    found = measure_ceilings(device, precisions)
    if found.device != "cpu":
        return found
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        alone = {name: threads * _short_matmul_rate(name) for name in found.matmul_flops_per_s}
        copies = threads * _short_copy_rate()
    finally:
        torch.set_num_threads(threads)
    return found.merged(found.model_copy(update={"matmul_flops_per_s": alone, "copy_bytes_per_s": copies}))


def _short_matmul_rate(precision: str) -> float:
    import torch

    return 2 * SHORT_MATMUL**3 / _fastest(_matmul(torch.device("cpu"), precision, SHORT_MATMUL))


def _short_copy_rate() -> float:
    """Bytes per second of a copy in pieces: each is short, all together are beyond the caches."""
    import torch

    source = torch.ones(COPY_BYTES["cpu"] // SHORT_COPY, SHORT_COPY, dtype=torch.uint8)
    target, piece = torch.empty_like(source), itertools.cycle(range(len(source)))

    def copy() -> None:
        number = next(piece)
        target[number].copy_(source[number])

    return 2 * SHORT_COPY / _fastest(copy)


def _fastest(call: Callable[[], object]) -> float:
    """Seconds of the fastest of the calls that SHORT_LOOK_S holds."""
    call()
    fastest, end = math.inf, perf_counter() + SHORT_LOOK_S
    while (start := perf_counter()) < end:
        call()
        fastest = min(fastest, perf_counter() - start)
    return fastest


def measure_sentinel(device: str, at: str) -> Sentinel:
    """Time the fixed matmul and copy on "cpu" or "cuda[:i]" now; `at` is the time to file them under."""
    import torch

    where = torch.device(device)
    precision = "bfloat16" if where.type == "cuda" else "float32"
    matmul = _timed(where, _matmul(where, precision, MATMUL_SIZES[where.type][precision] // 2))
    copy = _timed(where, _copy(where, COPY_BYTES[where.type]))
    return Sentinel(at=at, matmul_ms=matmul.summary.median, copy_ms=copy.summary.median)


def cache_bytes(device: torch.device) -> int:
    """Size of the device's last cache."""
    if device.type == "cuda":
        from orchestrator.measure.clocks import l2_bytes

        return l2_bytes(device)
    try:
        return os.sysconf("SC_LEVEL3_CACHE_SIZE") or UNKNOWN_CACHE
    except (ValueError, OSError):
        return UNKNOWN_CACHE


def _matmul_rate(device: torch.device, precision: str) -> float:
    size = MATMUL_SIZES[device.type][precision]
    with _tf32(precision == "tf32"):
        return 2 * size**3 / (min(_timed(device, _matmul(device, precision, size)).values_ms) / 1000)


def _matmul(device: torch.device, precision: str, size: int) -> Callable[[], object]:
    import torch

    dtype = torch.float32 if precision == "tf32" else getattr(torch, precision)
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    out = torch.empty_like(left)
    return lambda: torch.mm(left, right, out=out)


def _copy(device: torch.device, count: int) -> Callable[[], object]:
    import torch

    source = torch.randn(2**18, device=device).repeat(count // 2**20)
    target = torch.empty_like(source)
    return lambda: target.copy_(source)


def _timed(device: torch.device, call: Callable[[], object]) -> Measurement:
    from orchestrator.measure.clocks import CpuClock, CudaClock
    from orchestrator.measure.protocol import measure

    call()
    clock = CudaClock(device, cold=False) if device.type == "cuda" else CpuClock()
    return measure([call], PROTOCOLS[device.type], clock)


@contextmanager
def _tf32(on: bool) -> Iterator[None]:
    """Allow or forbid tf32 in float32 matmuls, and put back what was there."""
    import torch

    matmul: Any = torch.backends.cuda.matmul
    before = matmul.fp32_precision
    matmul.fp32_precision = "tf32" if on else "ieee"
    try:
        yield
    finally:
        matmul.fp32_precision = before
