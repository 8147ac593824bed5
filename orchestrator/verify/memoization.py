"""Whether an implementation remembers answers by the values of its inputs: new ones take much longer than met ones."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.measure.clocks import Stopwatch, spin
from orchestrator.usercode.implementation import Implementation

if TYPE_CHECKING:
    import torch

    Tensors = tuple[torch.Tensor, ...]

REMEMBERS = 2.0  # how many times as long calls on new values must take before answers are said to be remembered
ROUNDS_TO_BE_SURE = 5
PRACTICE = 6  # calls on the same values that are timed alone: answers may be remembered late ...
PRACTICE_S = 0.2  # ... and after these many seconds in calls no more of them


@dataclass(frozen=True)
class MemoizationCheck:
    """Compares the times of calls on new values and on values just met.

    Attributes:
        draw: number -> inputs that nobody has met.
        upstream: (output, number) -> the gradient that a call's gradients are propagated from.
    """

    subject: Implementation
    draw: Callable[[int], Tensors]
    upstream: Callable[[torch.Tensor, int], torch.Tensor]

    def complaint(self, first_s: float, later_s: list[float], used: Tensors) -> str:
        """In words that answers are remembered; "" where nothing suggests it.

        Args:
            first_s: how long the first call on the values in `used` took.
            later_s: how long others took on the same values since.
            used: the inputs; new values are written into them if there is a suspicion.
        """
        later_s = [*later_s, self._practised(used, -1, PRACTICE_S - sum(later_s))]
        return self._remembered(used) if first_s > REMEMBERS * min(later_s) else ""

    def _remembered(self, used: Tensors) -> str:
        """Whether each call on values that are new takes longer than calls on those it has just met.

        Whatever disturbs the machine seldom falls on the new ones alone, five times in a row.
        """
        new: list[float] = []
        met: list[float] = []
        for number in range(ROUNDS_TO_BE_SURE):
            for seconds in (new, met):  # the same is done just before either: what a hot loop saves is no memory
                refill(used, self.draw(number))
                seconds.append(self._seconds(used, number))
                if seconds is new:
                    self._practised(used, number, PRACTICE_S)
            if min(new) <= REMEMBERS * min(met):
                return ""
        if min(new) <= REMEMBERS * statistics.median(met):
            return ""
        return (
            f"it remembers answers by the values of its inputs: a call takes {1000 * min(new):.3g} ms or more "
            f"on values that are new, {1000 * statistics.median(met):.3g} ms on those it has just met"
        )

    def _practised(self, used: Tensors, number: int, budget_s: float) -> float:
        """The shortest of some further calls on the same values, as many as the budget allows."""
        found: list[float] = []
        while len(found) < PRACTICE and sum(found) < budget_s:
            spin(self.subject.config.device)
            found.append(self._seconds(used, number))
        return min(found, default=math.inf)

    def _seconds(self, used: Tensors, number: int) -> float:
        """How long one call takes, its gradients included."""
        device = self.subject.config.device
        with Stopwatch(device) as forward:
            out = self.subject.output(used)
        if not self.subject.backward:
            return forward.seconds()
        upstream = self.upstream(out.detach(), number)
        with Stopwatch(device) as backward:
            self.subject.gradients(out, used, upstream)
        return forward.seconds() + backward.seconds()


def refill(old: Tensors, fresh: Tensors) -> Tensors:
    """Write fresh inputs into used tensors, on CUDA behind a spinning kernel; returns the used ones.

    `.data` does not count as a new version of the tensor. Work that an implementation pushes to a stream of its own
    without waiting for the current one starts before the inputs are there.
    """
    spin(old[0].device)
    for used, drawn in zip(old, fresh, strict=True):
        used.data.copy_(drawn.data)
    return old
