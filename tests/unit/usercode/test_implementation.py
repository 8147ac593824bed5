"""What is called while a clock runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from orchestrator.outcome import Outcome
from orchestrator.usercode import workload_file
from orchestrator.usercode.callables import LoadedEntry
from orchestrator.usercode.implementation import AttemptEndedError, Implementation, build, user_code
from orchestrator.usercode.registry import Target
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


MODULE = """
import torch
from torch import nn

def inputs(n: int, dtype: torch.dtype = torch.bfloat16):
    return torch.randn(n, 4, dtype=dtype)

def state(dtype):
    return {"layer.weight": torch.randn(3, 4, dtype=dtype), "layer.bias": torch.randn(3, dtype=dtype)}

def reference(x, state):
    return x @ state["layer.weight"].T + state["layer.bias"]

class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x):
        return self.layer(x)
"""


def test_a_class_has_its_parameters_in_the_dtype_that_they_are_drawn_in(tmp_path: Path) -> None:
    """A layer is made in float32, and loading would keep that."""
    path = tmp_path / "block.py"
    path.write_text(MODULE)
    workload = workload_file.load(path)
    params = workload.params(n=2)
    config = Config(params.model_dump(), "cpu")
    entry = LoadedEntry(Target("Block", file=path).load(), "Block")
    built = build(workload, params, config, entry, 1)
    out = built.call(workload.inputs(config, "", 1))
    assert out.dtype is torch.bfloat16
    assert built.parameters()["layer.weight"].dtype is torch.bfloat16


def test_a_module_without_forward_has_failed_and_refused_nothing() -> None:
    """Torch raises NotImplementedError for it, which is a refusal where an author writes it."""
    with pytest.raises(AttemptEndedError) as ended, user_code(may_refuse=True):
        torch.nn.Module()(torch.ones(2))
    assert ended.value.outcome is Outcome.FAILED
    with pytest.raises(AttemptEndedError) as ended, user_code(may_refuse=True):
        torch.autograd.Function.apply(torch.ones(2))
    assert ended.value.outcome is Outcome.FAILED


def test_a_refusal_without_a_reason_says_so() -> None:
    """And how one is given."""
    with pytest.raises(AttemptEndedError) as ended, user_code(may_refuse=True):
        raise NotImplementedError
    assert ended.value.outcome is Outcome.UNSUPPORTED
    assert "it gives no reason (test_implementation.py:" in ended.value.message
    assert 'raise NotImplementedError("the reason")' in ended.value.message
