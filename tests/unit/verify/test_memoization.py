"""Whether an implementation keeps outputs by the values of its inputs."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import torch

from orchestrator.verify.memoization import (
    TOO_LARGE_TO_LEARN,
    Suspicion,
    by_turns,
    is_excluded,
    is_excluded_by_more,
)

SMALL, LARGE = (128, 96), (1024, TOO_LARGE_TO_LEARN // 1024)
CPU = torch.device("cpu")

Call = Callable[[tuple[torch.Tensor, ...]], torch.Tensor]


def suspicion(call: Call, *shapes: tuple[int, ...]) -> Suspicion:
    """What `by_turns` says of a call on normal inputs."""

    def draw(number: int) -> tuple[torch.Tensor, ...]:
        generator = torch.Generator().manual_seed(number)
        return tuple(torch.randn(shape, generator=generator) for shape in shapes)

    used = draw(10**6)
    for _ in range(10):  # as they were timed
        call(used)
    return by_turns(call, draw, used, CPU)


def work(inputs: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """Some honest work that takes many times as long as to look an answer up."""
    out = inputs[0]
    for _ in range(4):
        out = torch.softmax(out, -1) + torch.tanh(inputs[0])
    return out


def key(inputs: tuple[torch.Tensor, ...]) -> bytes:
    """What a table knows a set of values by."""
    return bytes(inputs[0].view(-1)[:2].view(torch.uint8).tolist())


class Table:
    """Keeps outputs by the values of the inputs, once they were asked for `late` times."""

    def __init__(self, late: int = 1, entries: int = 10**6) -> None:
        self.late, self.entries = late, entries
        self.asked: dict[bytes, int] = {}
        self.outputs: dict[bytes, torch.Tensor] = {}

    def __call__(self, inputs: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """The kept output, or a new one."""
        name = key(inputs)
        if name in self.outputs:
            return self.outputs[name]
        self.asked[name] = self.asked.get(name, 0) + 1
        out = work(inputs)
        if self.asked[name] >= self.late:
            if len(self.outputs) >= self.entries:
                self.outputs.clear()
            self.outputs[name] = out
        return out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("table", "shape"),
    [
        (Table(), SMALL),
        (Table(late=2), SMALL),
        (Table(late=6), SMALL),
        (Table(), LARGE),
        (Table(entries=1), LARGE),
    ],
    ids=["small", "kept from the second call", "from the sixth", "large", "a table of one"],
)
def test_a_table_of_outputs_is_found(table: Table, shape: tuple[int, ...]) -> None:
    """Wherever the answers are kept for the values that were met."""
    found = suspicion(table, shape)
    assert found.proven
    assert f"{found.ratio:.2f} times as long" in found.text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("call", "shapes"),
    [
        (work, [SMALL]),
        (work, [LARGE]),
        (lambda inputs: inputs[0].sort()[0], [(1000,)]),
        (lambda inputs: inputs[0].sort()[0], [(4000,)]),
        (lambda inputs: inputs[0] @ inputs[1] @ inputs[2], [(16, 1024), (1024, 512), (512, 1024)]),
        (lambda inputs: inputs[0].topk(8)[0], [(64, 4096)]),
    ],
    ids=["small", "large", "sort of 1000", "sort of 4000", "few rows and large weights", "topk"],
)
def test_honest_work_is_not_convicted(call: Call, shapes: list[tuple[int, ...]]) -> None:
    """Neither what a processor learns nor what lies in a cache is a kept output."""
    assert not suspicion(call, *shapes).proven


def test_shapes_that_follow_the_seed_are_not_compared() -> None:
    """Inputs that do not fit the tensors that were timed say nothing."""

    def draw(number: int) -> tuple[torch.Tensor, ...]:
        return (torch.zeros(number % 7 + 1),)

    assert by_turns(work, draw, (torch.zeros(3),), CPU) == Suspicion(1.0, proven=False)


def test_one_call_excludes_memory_only_where_new_values_take_what_was_timed() -> None:
    """A short call is asked more often, and what is not known excludes nothing."""
    assert is_excluded(on_new_s=0.0021, timed_s=0.002)
    assert not is_excluded(on_new_s=0.0030, timed_s=0.002)
    assert not is_excluded(on_new_s=0.00021, timed_s=0.0002)
    assert not is_excluded(on_new_s=0.0, timed_s=0.002)


@pytest.mark.parametrize(
    ("seconds", "timed_s", "expected", "calls"),
    [
        ((0.05,), 0.05, True, 1),
        ((0.2, 0.05), 0.05, True, 2),  # the first was disturbed
        ((0.1, 0.1, 0.1, 0.02), 0.02, False, 3),
        ((0.0005,), 0.0005, False, 0),  # of short calls many are asked instead
    ],
)
def test_a_call_that_was_disturbed_is_asked_again(
    seconds: tuple[float, ...], timed_s: float, expected: bool, calls: int
) -> None:
    """Each on values that it has not met: what keeps outputs by value is slow on all of them."""
    met: list[float] = []

    def call(inputs: tuple[torch.Tensor, ...]) -> None:
        time.sleep(seconds[len(met)])
        met.append(float(inputs[0]))

    def draw(number: int) -> tuple[torch.Tensor, ...]:
        return (torch.tensor([float(number + 1)]),)

    assert is_excluded_by_more(call, draw, (torch.zeros(1),), timed_s) is expected
    assert met == [1.0, 2.0, 3.0][:calls]
