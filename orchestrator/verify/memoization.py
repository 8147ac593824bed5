"""Detects memoization: an implementation that keeps outputs by input values is faster on values
that it has met.

Many sets of values are written into the same tensors in turns, each called once, then all once
more, and, where calls are short, some times more. A processor's branch predictor has forgotten the
first set when it comes again; a table of outputs has not. Sets that are too large to be learnt are
called twice in a row, too: that finds a table of one. Integer inputs stay as they are where there
are others, so that a plan kept by lengths is no memory of outputs.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from time import process_time
from typing import TYPE_CHECKING

from orchestrator.measure.clocks import Stopwatch, spin
from orchestrator.measure.protocol import collector_off
from orchestrator.usercode.implementation import differentiable
from orchestrator.verify.caller import Caller
from orchestrator.verify.inputs import rewrite
from orchestrator.verify.seeds import random_like

if TYPE_CHECKING:
    import torch

    Tensors = tuple[torch.Tensor, ...]

# how many times as long even the shortest call on new values must take as the median on met ones
REMEMBERS = 1.2
# of the medians; honest ones are below 1.06 on a quiet machine, a table of a third above 1.4
SUSPICIOUS = 1.3
LEAST_ELEMENTS, LEAST_SETS, FEWEST_SETS = 40_000, 16, 4
MOST_BYTES = 2**28
# of all passes together; long calls are on inputs so large that few sets of them are enough
BUDGET_S = 0.1
CONFIRMING_SETS = 8
LEARNT_ELEMENTS = 2**17  # of one set, that no predictor learns from one call
PRACTICE_S = 0.5  # in passes after the second, for outputs that are kept late
PASSES = 7  # in all, if the budget allows: outputs may be kept once they were asked for often


@dataclass(frozen=True)
class Suspicion:
    """What two passes over the same values told.

    Attributes:
        ratio: the first pass's median over the second's, the smaller of two trials.
        proven: whether both trials say that outputs are remembered.
        text: the evidence in words; empty where nothing suggests it.
    """

    ratio: float
    proven: bool
    text: str = ""


def memoization(caller: Caller, used: Tensors) -> Suspicion:
    """Whether an implementation keeps outputs by the values of its inputs; new values are written
    into `used`.

    Raises:
        AttemptEndedError: a call raised.
    """
    import torch

    implementation = caller.implementation

    def call(inputs: Tensors) -> object:
        out = implementation.call(inputs)
        if implementation.backward:
            roots = differentiable(out)
            upstream = [random_like(one, caller.seed).detach() for one in roots]
            implementation.gradients(roots, inputs, upstream)
        return out

    def draw(number: int) -> Tensors:
        return caller.inputs("turns", number)

    device = implementation.config.device
    threads = _one_thread() if device.type == "cpu" else nullcontext()
    with torch.set_grad_enabled(implementation.backward), collector_off(collect=False), threads:
        return by_turns(call, draw, used, device)


@contextmanager
def _one_thread() -> Iterator[None]:
    """One thread for torch's own loops, whose others spin while they wait, and count as CPU time.

    On two cores under a load of 15, layer_norm of (1024, 256) was convicted in 3 of 12 tries on two
    threads, by ratios up to 18, and in none on one, where ratios were 0.98 to 1.15.
    """
    import torch

    count = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(count)


def by_turns(
    call: Callable[[Tensors], object],
    draw: Callable[[int], Tensors],
    used: Tensors,
    device: torch.device,
) -> Suspicion:
    """Whether calls on values that were met before take less time than on new ones.

    Args:
        call: one call, its gradients included.
        draw: number -> inputs that nobody has met.
        used: tensors that the values are written into.
        device: of the trial; on a CPU the time of the process's own threads is compared.
    """
    seconds = _timed(call, used, device)
    count = _sets(used, seconds)
    ways = [
        (
            _ratio,
            f"calls on {count} sets of new values take {{:.2f}} times as long as on the same sets once more",
        )
    ]
    if sum(tensor.numel() for tensor in used) >= LEARNT_ELEMENTS:
        ways.append(
            (
                _ratio_at_once,
                "calls on new values take {:.2f} times as long as a second call on the same",
            )
        )
    worst = Suspicion(1.0, proven=False)
    for ratio_of, text in ways:
        ratio, least = ratio_of(call, draw, used, device, range(count))
        if ratio > SUSPICIOUS:  # once more, on others, and on enough of them
            more = max(count, CONFIRMING_SETS)
            again, least_again = ratio_of(call, draw, used, device, range(count, count + more))
            ratio, least = min(ratio, again), min(least, least_again)
        if ratio > max(SUSPICIOUS, worst.ratio):
            worst = Suspicion(ratio, least > REMEMBERS, text.format(ratio))
    return worst


def _sets(used: Tensors, seconds: float) -> int:
    """How many sets take turns: enough for a predictor to forget, bounded by memory and time."""
    elements = max(1, sum(tensor.numel() for tensor in used))
    size = max(1, sum(tensor.numel() * tensor.element_size() for tensor in used))
    wanted = max(LEAST_SETS, math.ceil(LEAST_ELEMENTS / elements))
    in_time = math.floor(BUDGET_S / max(2 * seconds, 1e-9))
    return max(FEWEST_SETS, min(wanted, MOST_BYTES // size, in_time))


def _ratio(
    call: Callable[[Tensors], object],
    draw: Callable[[int], Tensors],
    used: Tensors,
    device: torch.device,
    numbers: range,
) -> tuple[float, float]:
    """(Median, minimum) of the first pass over the median of a later one; 1 where the inputs do not
    fit the tensors.
    """
    drawn = [_floating_only(draw(number), used) for number in numbers]
    passes: list[list[float]] = []
    while len(passes) < 2 or (len(passes) < PASSES and sum(map(sum, passes)) < PRACTICE_S):
        found: list[float] = []
        for fresh in drawn:
            if rewrite(used, fresh) is None:
                return 1.0, 1.0
            found.append(_timed(call, used, device))
        passes.append(found)
    later = [statistics.median(found) for found in passes[1:]]
    return _compared(passes[0], min(later[0], later[-1]))


def _ratio_at_once(
    call: Callable[[Tensors], object],
    draw: Callable[[int], Tensors],
    used: Tensors,
    device: torch.device,
    numbers: range,
) -> tuple[float, float]:
    """(Median, minimum) of calls on new values over the median of calls on the same values directly
    afterwards.

    The same is done just before either: the values are written into the tensors.
    """
    new: list[float] = []
    met: list[float] = []
    for number in numbers:
        fresh = _floating_only(draw(number), used)
        for seconds in (new, met):
            if rewrite(used, fresh) is None:
                return 1.0, 1.0
            seconds.append(_timed(call, used, device))
    return _compared(new, statistics.median(met))


def _compared(new: list[float], met: float) -> tuple[float, float]:
    """(Median, minimum) over what a call on met values takes; whatever disturbs makes no call
    faster.
    """
    if met <= 0:
        return 1.0, 1.0
    return statistics.median(new) / met, min(new) / met


def _floating_only(fresh: Tensors, used: Tensors) -> Tensors:
    """Fresh values of the floating-point inputs; the integers are those of `used`, unless there is
    nothing else.
    """
    if not any(tensor.is_floating_point() or tensor.is_complex() for tensor in fresh):
        return fresh
    pairs = zip(fresh, used, strict=True)
    return tuple(new if new.is_floating_point() or new.is_complex() else old for new, old in pairs)


def _timed(call: Callable[[Tensors], object], used: Tensors, device: torch.device) -> float:
    """Seconds that one call takes, of the device or of the process's threads."""
    if device.type == "cpu":
        start = process_time()
        call(used)
        return process_time() - start
    spin(device)
    with Stopwatch(device) as watch:
        call(used)
    return watch.seconds()
