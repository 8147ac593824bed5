"""Calls of the implementation under test: the first one, and those that are timed in turns."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING

from orchestrator.measure.clocks import input_sets
from orchestrator.measure.memory import HostPeak
from orchestrator.usercode.implementation import Implementation, differentiable, user_code
from orchestrator.verify.caller import Caller
from orchestrator.verify.inputs import copied, rewrite
from orchestrator.verify.seeds import random_like

if TYPE_CHECKING:
    import torch

    Tensors = tuple[torch.Tensor, ...]

ROTATION_S = 0.1  # of calls on all sets of inputs on a CPU, about
# bytes of a set of inputs up to which there are at least two, so that outputs cannot be repeated
MOST_FOR_TWO = 2**29
LONG_TO_DRAW = 2**24  # bytes of a set


@dataclass(frozen=True)
class FirstCall:
    """The first call of an implementation.

    Attributes:
        ms: milliseconds that it took, plans and compilation included.
        bytes_in, bytes_out: of its inputs, and of all that it returned.
    """

    ms: float
    bytes_in: int
    bytes_out: int


def first_call(caller: Caller, host: HostPeak, device: torch.device, seed: int) -> FirstCall:
    """Make the first call, gradients included if the implementation goes backward.

    Raises:
        AttemptEndedError: its inputs could not be made, or it raised.
    """
    from orchestrator.verify.call import tensors_of

    subject = caller.implementation
    host.mark()
    with user_code():  # inputs that do not fit are as much its end as a call that does not
        inputs = caller.inputs("first")
    host.inputs_made()
    subject.prepare(inputs)
    synchronize(device)
    start = perf_counter()
    out = subject.call(inputs)
    with user_code():
        if subject.backward:
            roots = differentiable(out)
            subject.gradients(roots, inputs, random_gradients(roots, seed))
        synchronize(device)
    seconds = perf_counter() - start
    return FirstCall(
        1000 * seconds, _bytes_of(inputs), _bytes_of(tensors_of(out, subject).values())
    )


def random_gradients(roots: Sequence[torch.Tensor], seed: int) -> Tensors:
    """Gradients to propagate from the outputs of a call."""
    return tuple(random_like(one, seed).detach() for one in roots)


def upstream_of(subject: Implementation, inputs: Tensors, seed: int) -> Tensors:
    """The gradients that timed calls propagate from; none where there is no backward pass."""
    if not subject.backward:
        return ()
    return random_gradients(differentiable(subject.call(inputs)), seed)


def one_more(caller: Caller, seed: int) -> Callable[[], object]:
    """A call as it is timed, on inputs of its own."""
    import torch

    subject, inputs = caller.implementation, caller.inputs("memory")
    subject.prepare(inputs)
    call = subject.timed(inputs, upstream_of(subject, inputs, seed))

    def made() -> object:
        with torch.set_grad_enabled(subject.backward):
            return call()

    return made


def sets_in_turn(first: FirstCall, device: torch.device) -> int:
    """How many sets of inputs take turns: so many that neither caches nor outputs are repeated.

    There are at least two, so that the output of the call before is wrong, unless they are large.
    """
    bytes_per_set = first.bytes_in + first.bytes_out
    wanted = input_sets(bytes_per_set, device)
    if device.type == "cpu":
        # Each set is called by itself and judged, too: of slow calls few are enough, for what a
        # processor could learn of their branches is a small part of them.
        wanted = min(wanted, int(ROTATION_S / max(first.ms / 1000, 1e-9)))
    return max(wanted, 2 if bytes_per_set <= MOST_FOR_TWO else 1)


@dataclass
class RotatedInputs:
    """Sets of inputs that take turns while an implementation is timed, and a call on each.

    Attributes:
        prepare_ms: median of the milliseconds that preparing for a set takes; None: the
            implementation prepares nothing.
    """

    sets: list[Tensors] = field(default_factory=list)
    calls: list[Callable[[], object]] = field(default_factory=list)
    prepare_ms: float | None = None

    @classmethod
    def of(cls, caller: Caller, count: int, device: torch.device, seed: int) -> RotatedInputs:
        """So many sets of new values, prepared for.

        Raises:
            AttemptEndedError: preparing or a call raised.
        """
        subject = caller.implementation
        sets = [caller.inputs("timed", number) for number in range(count)]
        prepare_ms = None
        if subject.prepares:
            prepare_ms = statistics.median(_prepared_ms(subject, inputs, device) for inputs in sets)
        upstream = upstream_of(subject, sets[0], seed)
        return cls(sets, [subject.timed(inputs, upstream) for inputs in sets], prepare_ms)

    def to_redraw(self, seed: int) -> list[int]:
        """Which sets are drawn again, to see that they are unchanged: all, or, of sets that take
        long to draw, one by lot.
        """
        bytes_of_set = _bytes_of(self.sets[0])
        if bytes_of_set < LONG_TO_DRAW:
            return list(range(len(self.sets)))
        return [random.Random(seed).randrange(len(self.sets))]

    def call_first_twice(self, *, with_gradients: bool) -> None:
        """Two calls on the first of several sets, ahead of fresh values in the last: what computes
        the outputs of all sets at once then has that of the last ready, and it is stale.
        """
        import torch

        if len(self.calls) < 2:
            return
        with user_code(), torch.set_grad_enabled(with_gradients):
            for _ in range(2):
                self.calls[0]()

    def restorer(self) -> Callable[[], object]:
        """Puts written inputs of all sets back, ahead of each call, untimed."""
        pristine = [copied(inputs) for inputs in self.sets]

        def restore() -> None:
            for used, values in zip(self.sets, pristine, strict=True):
                rewrite(used, values)

        return restore


def _prepared_ms(subject: Implementation, inputs: Tensors, device: torch.device) -> float:
    synchronize(device)
    start = perf_counter()
    subject.prepare(inputs)
    synchronize(device)
    return 1000 * (perf_counter() - start)


def synchronize(device: torch.device) -> None:
    """Wait for the device, if it works by itself."""
    if device.type == "cuda":
        import torch

        torch.cuda.synchronize(device)


def _bytes_of(tensors: Iterable[torch.Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
