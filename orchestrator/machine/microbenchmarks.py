"""Measures a device's peak rates, and control benchmarks that show whether the device changed.

These functions use the device, so they must run in a process of their own, like a trial. Rates are
those of the fastest repetition: a peak rate is one that was reached once.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import TYPE_CHECKING, Any

from orchestrator.machine.ceilings import WIDER, Ceilings
from orchestrator.machine.observation import Control
from orchestrator.spec.models import MeasureProtocol
from orchestrator.util.quantities import MIB

if TYPE_CHECKING:
    import torch

    from orchestrator.measure.protocol import Measurement

PROTOCOLS = {
    "cuda": MeasureProtocol(
        warmup_s=0.1, min_time_s=0.1, max_time_s=0.4, min_repetitions=10, target_ci=0.005
    ),
    "cpu": MeasureProtocol(
        warmup_s=0.02, min_time_s=0.05, max_time_s=0.2, min_repetitions=3, target_ci=0.02
    ),
}
CONTROL_PROTOCOLS = {
    "cuda": MeasureProtocol(
        warmup_s=0.03, min_time_s=0.02, max_time_s=0.08, min_repetitions=10, target_ci=0.005
    ),
    "cpu": MeasureProtocol(
        warmup_s=0.0, min_time_s=0.02, max_time_s=0.04, min_repetitions=3, target_ci=0.02
    ),
}
MATMUL_SIZES = {
    "cuda": {"float64": 4096, "float32": 4096, "tf32": 8192, "float16": 8192, "bfloat16": 8192},
    "cpu": {"float64": 1024, "float32": 1024, "tf32": 1024, "float16": 256, "bfloat16": 256},
}
COPY_BYTES = {"cuda": 2**29, "cpu": 2**27}  # beyond any cache that matters; a multiple of 1 MiB
# On a GPU in float32: a product in bfloat16 soon reaches the power limit, and then says how warm
# the card is (2.4 % slower at the end of a sweep on an H200).
CONTROL_MATMUL = {"cuda": ("float32", 2048), "cpu": ("float32", 512)}
CONTROL_COPY_BYTES = {"cuda": 2**29, "cpu": 2**25}  # a CPU's is short: its pages must be made first
CONTROL_LOOP = 50_000  # iterations of the interpreter: some milliseconds
UNKNOWN_CACHE = 64 * MIB
# Half a millisecond of one core: less than a scheduler's time slice, however busy the core is.
SHORT_MATMUL, SHORT_COPY = 256, 2**22
SHORT_BENCHMARK_S = 0.3


def measure_ceilings(device: str, precisions: Sequence[str]) -> Ceilings:
    """Measure the peak rates of "cpu" or "cuda[:i]": one or two seconds per precision at most."""
    import torch

    where = torch.device(device)
    wanted: dict[str, None] = {}  # a set that keeps the order
    for precision in precisions:
        wanted |= dict.fromkeys((precision, *WIDER.get(precision, ())))
    rates = {name: _matmul_rate(where, name) for name in wanted}
    beyond_cache = min(2 * cache_bytes(where), 2**29)
    count = max(COPY_BYTES[where.type], beyond_cache) // MIB * MIB
    seconds = min(_timed(where, _copy(where, count)).values_ms) / 1000
    return Ceilings(
        device=where.type,
        matmul_flops_per_s=rates,
        copy_bytes_per_s=2 * count / seconds,
        cache_bytes=cache_bytes(where),
    )


def measure_bounds(device: str, precisions: Sequence[str]) -> Ceilings:
    """Measure upper bounds, to judge by whether a result is plausible.

    They are at least the rates measured now. On a busy CPU all threads together seldom run
    undisturbed for as long as a large product takes. A small product by one thread does, now and
    then: the fastest of many, times the threads, is what the cores could do.
    """
    import torch

    found = measure_ceilings(device, precisions)
    if found.device != "cpu":
        return found
    where = torch.device("cpu")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        matmuls = {}
        for name in found.matmul_flops_per_s:
            fastest_s = _fastest_s(_matmul(where, name, SHORT_MATMUL))
            matmuls[name] = threads * 2 * SHORT_MATMUL**3 / fastest_s
        copies = threads * _short_copy_rate()
    finally:
        torch.set_num_threads(threads)
    alone = found.model_copy(update={"matmul_flops_per_s": matmuls, "copy_bytes_per_s": copies})
    return found.merged(alone)


def _short_copy_rate() -> float:
    """Bytes per second of a copy in pieces: each is short, all together exceed the caches."""
    import torch

    source = torch.ones(COPY_BYTES["cpu"] // SHORT_COPY, SHORT_COPY, dtype=torch.uint8)
    target, piece = torch.empty_like(source), itertools.cycle(range(len(source)))

    def copy() -> None:
        number = next(piece)
        target[number].copy_(source[number])

    return 2 * SHORT_COPY / _fastest_s(copy)


def _fastest_s(call: Callable[[], object]) -> float:
    """Seconds of the fastest of the calls made within SHORT_BENCHMARK_S."""
    call()
    fastest = math.inf
    start = perf_counter()
    end = start + SHORT_BENCHMARK_S
    while start < end:
        call()
        fastest = min(fastest, perf_counter() - start)
        start = perf_counter()
    return fastest


def measure_controls(device: str, at: str) -> Control:
    """Time the control benchmarks on "cpu" or "cuda[:i]" now, 20 ms each.

    Args:
        device: where.
        at: the time to record.
    """
    import torch

    where = torch.device(device)
    protocol = CONTROL_PROTOCOLS[where.type]
    precision, size = CONTROL_MATMUL[where.type]
    found = {
        "matmul_ms": _timed(where, _matmul(where, precision, size), protocol),
        "copy_ms": _timed(where, _copy(where, CONTROL_COPY_BYTES[where.type]), protocol),
    }
    launch_ms = None
    if where.type == "cpu":
        found["loop_ms"] = _timed(where, _loop, protocol)
    else:
        small = torch.zeros(1, device=where)
        launch_ms = _timed(where, lambda: small.add_(1), protocol).extras["host_latency_ms"]
    figures = {name: measurement.summary.median for name, measurement in found.items()}
    noise = {name: measurement.summary.noise_pct for name, measurement in found.items()}
    return Control(at=at, launch_ms=launch_ms, noise_pct=noise, **figures)


def _loop() -> int:
    """Fixed work of the interpreter alone, which no library does faster."""
    total = 0
    for number in range(CONTROL_LOOP):
        total += number & 7
    return total


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
    """FLOP per second of the fastest large product."""
    size = MATMUL_SIZES[device.type][precision]
    with _tf32(precision == "tf32"):
        times_ms = _timed(device, _matmul(device, precision, size)).values_ms
    return 2 * size**3 / (min(times_ms) / 1000)


def _matmul(device: torch.device, precision: str, size: int) -> Callable[[], object]:
    import torch

    dtype = torch.float32 if precision == "tf32" else getattr(torch, precision)
    left = torch.randn(size, size, device=device).to(dtype)
    right = torch.randn(size, size, device=device).to(dtype)
    out = torch.empty_like(left)
    return lambda: torch.mm(left, right, out=out)


def _copy(device: torch.device, count: int) -> Callable[[], object]:
    import torch

    source = torch.randn(MIB // 4, device=device).repeat(count // MIB)  # float32: 4 bytes each
    target = torch.empty_like(source)
    return lambda: target.copy_(source)


def _timed(
    device: torch.device, call: Callable[[], object], protocol: MeasureProtocol | None = None
) -> Measurement:
    from orchestrator.measure.clocks import CpuClock, CudaClock
    from orchestrator.measure.protocol import measure

    call()
    clock = CudaClock(device, cold=False) if device.type == "cuda" else CpuClock()
    return measure([call], protocol or PROTOCOLS[device.type], clock)


@contextmanager
def _tf32(on: bool) -> Iterator[None]:
    """Allow or forbid tf32 in float32 matmuls within the block; restore the setting after it."""
    import torch

    matmul: Any = torch.backends.cuda.matmul
    before = matmul.fp32_precision
    matmul.fp32_precision = "tf32" if on else "ieee"
    try:
        yield
    finally:
        matmul.fp32_precision = before
