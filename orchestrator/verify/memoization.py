"""Detects memoization: an implementation that keeps outputs by input values is faster on values
that it has met.

Calls on met values and calls on new ones take turns, so that a machine that slows down, or is
shared, disturbs both alike. Of small inputs many sets are called until they are known; a
processor's branch predictor has forgotten a set when it comes again, a table of outputs has not.
Sets that are too large to be learnt are called several times in a row: that finds a table of one,
too. The last of these calls reads a copy of its own, so that neither set is nearer in a cache.
Integer inputs stay as they are where there are others, so that a plan kept by lengths is no memory
of outputs.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter, process_time
from typing import TYPE_CHECKING

from orchestrator.measure.clocks import SPIN_S, Stopwatch, spin
from orchestrator.measure.protocol import collector_off
from orchestrator.usercode.implementation import differentiable
from orchestrator.verify.caller import Caller
from orchestrator.verify.inputs import copied, rewrite
from orchestrator.verify.seeds import random_like

if TYPE_CHECKING:
    import torch

    Tensors = tuple[torch.Tensor, ...]

# how many times as long even the shortest call on new values must take as the median on met ones
REMEMBERS = 1.2
# of the medians; honest ones are below 1.1 on a loaded machine, a table of a third above 1.4
SUSPICIOUS = 1.3
TOLD_BY_ONE_S = 1e-3  # a shorter call is told by many
MORE_CALLS = 3  # on values of their own, before many are asked
TRIALS = 3  # each on values of its own, and each must say so
LEAST_ELEMENTS, LEAST_SETS, FEWEST_SETS, MOST_SETS = 40_000, 16, 4, 128
MOST_BYTES = 2**28  # of all sets of one trial
CONFIRMING_SETS = 8
TOO_LARGE_TO_LEARN = 2**20  # elements of one set; topk of 2^17 is 1.2 times as fast when met
# of calls on known sets, for outputs that are kept late; sets are the fewer the longer a call, or
# a draw, takes
PRACTICE_S = 0.5
PASSES = 6  # over the known sets, if the budget allows: outputs may be kept once asked for often
SHRINK = 0.7  # of a head start, from one call to the next, while launching takes less


@dataclass(frozen=True)
class Suspicion:
    """What calls on new values and on met ones told.

    Attributes:
        ratio: the median on new values over the median on met ones, the smallest of the trials.
        proven: whether every trial says that outputs are remembered.
        text: the evidence in words; empty where nothing suggests it.
    """

    ratio: float
    proven: bool
    text: str = ""


NOTHING = Suspicion(1.0, proven=False)


def memoization(caller: Caller, used: Tensors, on_new_s: float, timed_s: float) -> Suspicion:
    """Whether an implementation keeps outputs by the values of its inputs; new values are written
    into `used`.

    Args:
        caller: of the implementation.
        used: inputs that it was called with.
        on_new_s: seconds of one call on new values; 0 where it is not known.
        timed_s: seconds of the shortest timed call.

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

    def draw_alone(number: int) -> Tensors:
        return caller.inputs("alone", number)

    device = implementation.config.device
    with torch.set_grad_enabled(implementation.backward), collector_off(collect=False):
        if device.type != "cpu":
            return by_turns(call, draw, used, device)
        if is_excluded(on_new_s, timed_s):
            return NOTHING
        # a call that was disturbed is asked again; where it is not known, one tells nothing
        if on_new_s > 0 and is_excluded_by_more(call, draw_alone, used, timed_s):
            return NOTHING
        with _one_thread():
            return by_turns(call, draw, used, device)


def is_excluded(on_new_s: float, timed_s: float) -> bool:
    """Whether single calls have shown enough on a CPU: one on new values took hardly longer than
    the shortest of those that were timed, on values that were met as often as there are
    repetitions.

    Whatever disturbs makes no call faster, so that noise asks for the longer look, and never
    excludes it.

    Args:
        on_new_s: seconds of one call on new values; 0 where it is not known.
        timed_s: seconds of the shortest timed call.
    """
    return timed_s >= TOLD_BY_ONE_S and 0 < on_new_s <= REMEMBERS * timed_s


def is_excluded_by_more(
    call: Callable[[Tensors], object],
    draw: Callable[[int], Tensors],
    used: Tensors,
    timed_s: float,
) -> bool:
    """Whether one of a few more calls on new values shows what a call that was disturbed did not.

    The longer look takes half a second, and ten calls at least.
    """
    if timed_s < TOLD_BY_ONE_S:
        return False
    for number in range(MORE_CALLS):
        if rewrite(used, _floating_only(draw(number), used)) is None:
            return False
        start = perf_counter()
        call(used)
        if is_excluded(perf_counter() - start, timed_s):
            return True
    return False


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
    start = perf_counter()
    fresh = _floating_only(draw(0), used)
    drawing_s = perf_counter() - start
    if rewrite(used, fresh) is None:
        return NOTHING
    timed = _TimedCalls(call, used, device)
    count = _sets(used, max(drawing_s, timed()))
    if sum(tensor.numel() for tensor in used) < TOO_LARGE_TO_LEARN:
        return _tried(_in_turns, timed, draw, count)
    return _tried(_in_a_row, timed, draw, min(count, CONFIRMING_SETS))


@dataclass
class _TimedCalls:
    """Times one call on `used` after another.

    A GPU gets a head start: it is busy for as long as the host takes to launch the call, whose gaps
    are then not timed.
    """

    call: Callable[[Tensors], object]
    used: Tensors
    device: torch.device
    _ahead_s: float = SPIN_S

    def __call__(self) -> float:
        """Seconds that one call takes, of the device or of the process's threads."""
        if self.device.type == "cpu":
            start = process_time()
            self.call(self.used)
            return process_time() - start
        spin(self.device, self._ahead_s)
        start = perf_counter()
        with Stopwatch(self.device) as watch:
            self.call(self.used)
        launching_s = perf_counter() - start
        self._ahead_s = min(SPIN_S, max(SHRINK * self._ahead_s, 2 * launching_s))
        return watch.seconds()


def _tried(
    compare: Callable[..., tuple[float, float]],
    timed: _TimedCalls,
    draw: Callable[[int], Tensors],
    count: int,
) -> Suspicion:
    """What one way to compare says; a trial that suspects is repeated on other values, and on
    enough of them.
    """
    ratio = least = math.inf
    first = 1
    for _ in range(TRIALS):
        found, shortest = compare(timed, draw, first, count)
        ratio, least = min(ratio, found), min(least, shortest)
        if ratio <= SUSPICIOUS:
            return Suspicion(ratio, proven=False)
        first += 2 * count
        count = max(count, CONFIRMING_SETS)
    text = f"calls on new values take {ratio:.2f} times as long as on values that it has met"
    return Suspicion(ratio, least > REMEMBERS, text)


def _sets(used: Tensors, seconds: float) -> int:
    """How many sets take turns: enough for a predictor to forget, bounded by memory and by the
    seconds that a draw or a call takes.
    """
    elements = max(1, sum(tensor.numel() for tensor in used))
    size = max(1, sum(tensor.numel() * tensor.element_size() for tensor in used))
    wanted = min(MOST_SETS, max(LEAST_SETS, math.ceil(LEAST_ELEMENTS / elements)))
    in_time = math.floor(PRACTICE_S / max(PASSES * seconds, 1e-9))
    return max(FEWEST_SETS, min(wanted, MOST_BYTES // (3 * size), in_time))


def _in_turns(
    timed: _TimedCalls, draw: Callable[[int], Tensors], first: int, count: int
) -> tuple[float, float]:
    """(Median, minimum) of calls on new sets over the median of calls on known ones, in turns; 1
    where the inputs do not fit the tensors.
    """
    used = timed.used
    known = [_floating_only(draw(first + number), used) for number in range(count)]
    unknown = [_floating_only(draw(first + count + number), used) for number in range(count)]
    spent = 0.0
    for practice in range(PASSES):
        for old, new in zip(known, unknown, strict=True):
            # read in the same pass, a new set lies as near in the caches as a known one
            if rewrite(used, new) is None or rewrite(used, old) is None:
                return 1.0, 1.0
            spent += timed()
        if practice > 0 and spent > 2 * PRACTICE_S:
            break
    on_new: list[float] = []
    on_known: list[float] = []
    for number, (old, new) in enumerate(zip(known, unknown, strict=True)):
        turns = [(new, on_new), (old, on_known)]
        if number % 2:
            turns.reverse()
        for values, seconds in turns:
            rewrite(used, values)
            seconds.append(timed())
    return _compared(on_new, on_known)


def _in_a_row(
    timed: _TimedCalls, draw: Callable[[int], Tensors], first: int, count: int
) -> tuple[float, float]:
    """(Median, minimum) of calls on new sets over the median of the last of several calls on the
    same values directly afterwards; 1 where the inputs do not fit the tensors.
    """
    used = timed.used
    sets: list[tuple[Tensors, Tensors, Tensors]] = []
    for number in range(count + 1):
        values = _floating_only(draw(first + number), used)
        sets.append((values, copied(values), copied(values)))
    on_new: list[float] = []
    on_met: list[float] = []
    for values, same, once_more in sets:
        if rewrite(used, values) is None:
            return 1.0, 1.0
        on_new.append(timed())
        spent = on_new[-1]
        for _ in range(PASSES - 1):
            if spent * (count + 1) > 2 * PRACTICE_S:
                break
            rewrite(used, same)
            spent += timed()
        rewrite(used, once_more)
        on_met.append(timed())
    return _compared(on_new[1:], on_met[1:])  # the first set came after something else


def _compared(new: list[float], met: list[float]) -> tuple[float, float]:
    """(Median, minimum) over the median on met values; whatever disturbs makes no call faster."""
    usual = statistics.median(met)
    if usual <= 0:
        return 1.0, 1.0
    return statistics.median(new) / usual, min(new) / usual


def _floating_only(fresh: Tensors, used: Tensors) -> Tensors:
    """Fresh values of the floating-point inputs; the integers are those of `used`, unless there is
    nothing else.
    """
    if not any(tensor.is_floating_point() or tensor.is_complex() for tensor in fresh):
        return fresh
    pairs = zip(fresh, used, strict=True)
    return tuple(new if new.is_floating_point() or new.is_complex() else old for new, old in pairs)
