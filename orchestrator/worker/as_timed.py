"""Judges what is timed as it is timed: outputs out of blocks of the real length, on the real
rotation of inputs.

Nothing about a judged call can be told from a timed one: it is called by the same clock in a block
of as many calls, and its output is kept by the list that the block is made of. Into one set of
inputs fresh values are written inside the block, so that an output that was prepared, or kept from
an earlier call on it, is wrong.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from orchestrator.measure.clocks import Clock
from orchestrator.measure.protocol import collector_off
from orchestrator.usercode.implementation import user_code
from orchestrator.usercode.values.answers import alike, snapshot
from orchestrator.verify.inputs import copied, rewrite
from orchestrator.verify.verifier import Verifier

if TYPE_CHECKING:
    import torch

    from orchestrator.verify.rule.judgement import Judgement

    Tensors = tuple[torch.Tensor, ...]

# Of the reference's limit, for all verification from timing on: what is stale or skipped shows in
# a sample of rows.
AFTER_SHARE = 1 / 32
# relative difference of two calls on the same values from which the reference is asked
GROSS = 2.0**-4
# calls between the write and the judged call, for what skips work once calls come fast
LEAST_AFTER_WRITE = 8
# outputs that are kept of a block, and bytes of inputs that they may belong to: more would take
# memory that the calls need, and make the block unlike a timed one
MOST_KEPT, MOST_KEPT_BYTES = 4, 2**26


@dataclass
class Kept:
    """A call of a block whose output is kept.

    Attributes:
        number: of the set of inputs that it was called with.
        returned: by the call, copied at once: a later call may write over it; None until it was
            made.
        before: the values of the inputs at the call, where the call may change them; else empty.
        after: what the call left of them, where it may change them: a later call goes on from
            there; else empty.
    """

    number: int
    returned: Any = None
    before: Tensors = ()
    after: Tensors = ()


@dataclass(frozen=True)
class TimedBlocks:
    """Makes blocks like the timed ones and keeps some of their outputs.

    Attributes:
        sets: the inputs that take turns.
        calls: one per set, as they were timed.
        clock: that they were timed by.
        length: calls of a timed block.
        writes: whether calls change their inputs.
        with_gradients: whether a call returns a pair of its output and gradients.
        rng: chooses the places.
    """

    sets: Sequence[Tensors]
    calls: Sequence[Callable[[], object]]
    clock: Clock
    length: int
    writes: bool
    with_gradients: bool
    rng: random.Random
    _turn: list[int] = field(default_factory=lambda: [0])

    def with_fresh_values(self, fresh: Callable[[int], Tensors]) -> list[Kept]:
        """Outputs of a block in which the values of one set were replaced: of that set, and the
        last of the next.

        `fresh` gives new values for the set of a number.
        """
        first = self._turn[0]
        block = self._block()
        last = len(block) - 1
        written_at = self.rng.randrange(max(1, len(block) // 3))
        judged_at = self.rng.randrange(min(last, written_at + LEAST_AFTER_WRITE), len(block))
        target = (first + judged_at) % len(self.sets)
        values = fresh(target)
        kept = [self._keep(block, judged_at, first)]
        # which may be kept itself: what it is called with is what was written
        call = block[written_at]

        def writing() -> object:
            rewrite(self.sets[target], values)
            return call()

        block[written_at] = writing
        self._run(block)
        if self.length == 1 and not self.writes:
            return kept  # a block of one call has no last one that is later
        first, block = self._turn[0], self._block()
        kept.append(self._keep(block, len(block) - 1, first))
        self._run(block)
        return kept

    def of_sets(self, numbers: Sequence[int]) -> list[Kept]:
        """Outputs of the first few of these sets of inputs that one block calls: the later in it,
        the less like a single call.
        """
        first, count = self._turn[0], len(self.sets)
        latest = {(first + place) % count: place for place in range(self.length)}
        if latest.keys().isdisjoint(numbers):  # blocks are shorter than the rotation
            self._turn[0] = first = numbers[0]
            latest = {(first + place) % count: place for place in range(self.length)}
        block = self._block()
        called = [number for number in numbers if number in latest]
        kept = [self._keep(block, latest[number], first) for number in called[: self._most_kept]]
        self._run(block)
        return kept

    @property
    def _most_kept(self) -> int:
        bytes_of_set = sum(one.numel() * one.element_size() for one in self.sets[0])
        return max(1, min(MOST_KEPT, MOST_KEPT_BYTES // max(bytes_of_set, 1)))

    def _block(self) -> list[Callable[[], object]]:
        first, count = self._turn[0], len(self.calls)
        self._turn[0] += self.length
        return [self.calls[turn % count] for turn in range(first, first + self.length)]

    def _keep(self, block: list[Callable[[], object]], place: int, first: int) -> Kept:
        """Have the block keep what its call at `place` returns."""
        kept = Kept((first + place) % len(self.sets))
        call, inputs = block[place], self.sets[kept.number]

        def keeping() -> object:
            if self.writes:
                kept.before = copied(inputs)
            out = call()
            returned = out[0] if self.with_gradients else out  # type: ignore[index]
            kept.returned = snapshot(returned)
            if self.writes:
                kept.after = copied(inputs)
            return out

        block[place] = keeping
        return kept

    def _run(self, block: Sequence[Callable[[], object]]) -> None:
        import torch

        with user_code(), torch.set_grad_enabled(self.with_gradients), collector_off(collect=False):
            self.clock.time(block)


def judged_as_timed(blocks: TimedBlocks, verifier: Verifier) -> Iterator[Judgement]:
    """The verdicts on outputs out of timed blocks.

    Two are judged by the reference: one on values written inside the block, and the last of the
    block. Of every set of inputs an output is held against that of a call by itself; where they
    differ the reference decides.

    Raises:
        AttemptEndedError: a call raised, or returned something of the wrong kind.
    """
    caller = verifier.caller

    def fresh(number: int) -> Tensors:
        return caller.inputs("written", number)

    def verdict(kept: Kept) -> Judgement:
        inputs = kept.after or blocks.sets[kept.number]
        before = kept.before or inputs
        return verifier.judge_timed(
            kept.returned, inputs, before, ("timed", kept.number), AFTER_SHARE
        )

    # where each call is a block of its own, the call after timing sees the last set
    seen = {len(blocks.sets) - 1} if blocks.length == 1 else set()
    for kept in blocks.with_fresh_values(fresh):
        yield verdict(kept)
        seen.add(kept.number)
    if blocks.writes or caller.workload.judge is not None:
        return  # a call by itself need not give the same
    waiting = [number for number in range(len(blocks.sets)) if number not in seen]
    blocks.rng.shuffle(waiting)
    while waiting:
        for kept in blocks.of_sets(waiting):
            waiting.remove(kept.number)
            if not alike(
                kept.returned, caller.implementation.call(blocks.sets[kept.number]), GROSS
            ):
                yield verdict(kept)
