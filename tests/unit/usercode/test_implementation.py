"""What is called while a clock runs."""

from __future__ import annotations

import pytest
import torch

from orchestrator.usercode.implementation import Implementation
from orchestrator.workload import Config


def test_timed_gradients_follow_the_shapes_of_outputs() -> None:
    """A ragged tensor of another total has an output of another shape, and a gradient of that."""

    def positive(x: torch.Tensor) -> torch.Tensor:
        return x[x.detach() > 0] * 3

    built = Implementation(positive, Config({}, "cpu"), "default", True, ("x",))
    x = torch.tensor([1.0, -1.0, 2.0], requires_grad=True)
    call = built.timed((x,), (torch.full((3,), 5.0),))
    for _ in range(2):
        out, (grad,) = call()  # type: ignore[misc]
        assert torch.equal(out, torch.tensor([3.0, 6.0]))
        assert torch.equal(grad, torch.tensor([3.0, 0.0, 3.0]))
    with torch.no_grad():
        x[1] = 4.0
    _, (grad,) = call()  # type: ignore[misc]
    assert torch.equal(grad, torch.tensor([3.0, 3.0, 3.0]))


def test_what_else_a_backward_pass_raises_is_raised() -> None:
    """It is no matter of shapes."""

    class Broken(torch.autograd.Function):
        @staticmethod
        def forward(ctx: object, x: torch.Tensor) -> torch.Tensor:
            return x * 2

        @staticmethod
        def backward(ctx: object, grad: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("no way back")

    built = Implementation(Broken.apply, Config({}, "cpu"), "default", True, ("x",))
    call = built.timed((torch.ones(2, requires_grad=True),), (torch.ones(2),))
    with pytest.raises(RuntimeError, match="no way back"):
        call()
