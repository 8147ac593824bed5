"""A tiny workload for the tests of the worker, and implementations of it: honest ones and cheats.

`product`: a (batch, rows, inner) @ b (batch, inner, width). `layer`: x, as a, by a weight (width, inner).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict

from orchestrator.workload import Config, Expected, Problem, Work, Workload

Implementation = Callable[..., Any]


class MatmulParams(BaseModel):
    """Shapes, precision and direction of one trial."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch: int = 2
    rows: int = 16
    inner: int = 8
    width: int = 8
    dtype: str = "float32"
    direction: Literal["forward", "forward_backward"] = "forward"
    device: str | None = None


def _random(config: Config, seed: int, *shape: int) -> torch.Tensor:
    generator = torch.Generator(config.device).manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=config.dtype, device=config.device)


def _inputs(config: Config, form: str, seed: int) -> tuple[torch.Tensor, ...]:
    a = _random(config, seed, config.batch, config.rows, config.inner)
    return (
        (a,)
        if form == "layer"
        else (a, _random(config, seed + 1, config.batch, config.inner, config.width))
    )


def _state(config: Config, form: str, seed: int) -> Mapping[str, torch.Tensor]:
    return {"weight": _random(config, seed, config.width, config.inner)} if form == "layer" else {}


def _reference(problem: Problem) -> Any:
    leaves = {name: tensor.to(problem.dtype) for name, tensor in problem.state.items()}
    names = ("x",) if problem.form == "layer" else ("a", "b")
    leaves |= {
        name: tensor.to(problem.dtype) for name, tensor in zip(names, problem.inputs, strict=True)
    }
    for leaf in leaves.values():
        leaf.requires_grad_(problem.upstream is not None)
    out = (
        leaves["x"] @ leaves["weight"].mT if problem.form == "layer" else leaves["a"] @ leaves["b"]
    )
    if problem.upstream is not None:
        grads = torch.autograd.grad(out, tuple(leaves.values()), problem.upstream.to(problem.dtype))
        return {
            "output": out.detach(),
            **{f"grad_{n}": g for n, g in zip(leaves, grads, strict=True)},
        }
    config = problem.config
    if 2 * out.numel() * config.inner <= problem.max_flops:
        return out
    every_other = torch.arange(0, config.rows, 2)
    batch = torch.arange(config.batch).repeat_interleave(len(every_other))
    rows = every_other.repeat(config.batch)
    return Expected(out[batch, rows], (batch, rows), block=batch)


WORKLOAD = Workload(
    name="matmul",
    params=MatmulParams,
    inputs=_inputs,
    reference=_reference,
    work=lambda p, form: Work(
        flops=2.0 * p.batch * p.rows * p.inner * p.width,
        bytes=4.0 * p.batch * p.rows * (p.inner + p.width),
        tokens=p.batch * p.rows,
    ),
    forms=("product", "layer"),
    input_names={"product": ("a", "b"), "layer": ("x",)},
    state=_state,
    backward=lambda p: p.direction == "forward_backward",
)


def honest(config: Config) -> Implementation:
    return torch.matmul


class Layer(torch.nn.Module):
    """x @ weight.T, the weight loaded by the harness."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(
            torch.zeros(config.width, config.inner, dtype=config.dtype)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, rows, inner) -> (batch, rows, width)."""
        return x @ self.weight.mT


def layer(config: Config) -> Implementation:
    return Layer(config)


layer.form = "layer"  # type: ignore[attr-defined]


def layer_by_another_name(config: Config) -> Implementation:
    module = torch.nn.Module()
    module.kernel = torch.nn.Parameter(torch.zeros(config.width, config.inner))
    return module


layer_by_another_name.form = "layer"  # type: ignore[attr-defined]


def cached_first_answer(config: Config) -> Implementation:
    answers: list[torch.Tensor] = []

    def matmul(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        if not answers:
            answers.append(a @ b)
        return answers[0]

    return matmul


def cached_by_identity(config: Config) -> Implementation:
    """Right for tensors it has not met, and for those it has as long as nobody writes into them."""
    answers: dict[tuple[int, int, int], torch.Tensor] = {}
    alive: list[torch.Tensor] = []

    def matmul(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        key = (id(a), a.data_ptr(), a._version)
        if key not in answers:
            alive.extend((a, b))
            answers[key] = a @ b
        return answers[key]

    return matmul


def mutates_input(config: Config) -> Implementation:
    return lambda a, b: _after(a @ b, lambda: a.mul_(2))


def layer_without_state(config: Config) -> Implementation:
    return lambda x: x


layer_without_state.form = "layer"  # type: ignore[attr-defined]


def of_unknown_form(config: Config) -> Implementation:
    return torch.matmul


of_unknown_form.form = "triangle"  # type: ignore[attr-defined]


def detached(config: Config) -> Implementation:
    return lambda a, b: (a @ b).detach()


def interrupts(config: Config) -> Implementation:
    def matmul(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        raise KeyboardInterrupt

    return matmul


class UnprintableError(Exception):
    """Cannot say what it is."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


def unprintable(config: Config) -> Implementation:
    def matmul(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        raise UnprintableError

    return matmul


def not_implemented_when_called(config: Config) -> Implementation:
    def matmul(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError("later")

    return matmul


def builds_too_much(config: Config) -> Implementation:
    buffer = torch.empty(2**60)
    return lambda a, b: a @ b + buffer


def wants_options(config: Config) -> Implementation:
    if config.options["block"] != 64 or config.dtype is not torch.float64:
        raise ValueError(f"got {config!r}")
    return torch.matmul


def mutates_input_while_timed(config: Config) -> Implementation:
    """Behaves for the first calls, by which it is examined, and then writes into its input."""
    calls: list[int] = []

    def matmul(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        out = a @ b
        return out if len(calls) < 13 else _after(out, lambda: b.mul_(1.5))

    return matmul


def _after(out: torch.Tensor, action: Callable[[], object]) -> torch.Tensor:
    action()
    return out


def writes_over_its_last_answer(config: Config) -> Implementation:
    box: dict[str, torch.Tensor] = {}

    def matmul(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.matmul(
            a, b, out=box.setdefault("out", torch.empty(*a.shape[:-1], b.shape[-1], dtype=a.dtype))
        )

    return matmul


def stops_the_clock(config: Config) -> Implementation:
    """As a library that freezes time does, for ends of its own."""
    time.perf_counter = lambda: 5.0
    return lambda a, b: a @ b


def leaves_nan(config: Config) -> Implementation:
    def matmul(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        out = a @ b
        out[-1, -1, -1] = float("nan")
        return out

    return matmul


def swaps_batch_entries(config: Config) -> Implementation:
    return lambda a, b: (a @ b).flip(0)


def never_computes_the_last(config: Config) -> Implementation:
    """Leaves what was in the memory that its output got."""

    def matmul(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        out = torch.empty(a.shape[0], a.shape[1], b.shape[2], dtype=a.dtype)
        out[:-1] = a[:-1] @ b[:-1]
        return out

    return matmul


def off_by_two_thousandths(config: Config) -> Implementation:
    return lambda a, b: 1.002 * (a @ b)


def one_wrong_row(config: Config) -> Implementation:
    def matmul(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        out = a @ b
        row = out.shape[1] // 2
        out[0, row] = out[0, row + 1]
        return out

    return matmul


def wrong_gradient(config: Config) -> Implementation:
    def matmul(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return a @ b.detach() + 0 * b.sum()

    return matmul


def wrong_shape(config: Config) -> Implementation:
    return lambda a, b: (a @ b).mT.contiguous()


def wrong_dtype(config: Config) -> Implementation:
    return lambda a, b: (a @ b).double()


class Lazy(torch.Tensor):
    """A tensor that is computed when someone looks, which a clock does not."""

    make: Callable[[], torch.Tensor]

    @classmethod
    def of(cls, make: Callable[[], torch.Tensor], shape: tuple[int, ...]) -> Lazy:
        """A promise of what `make` returns."""
        promise: Lazy = torch.Tensor._make_wrapper_subclass(cls, shape, dtype=torch.float32)
        promise.make = make
        return promise

    @classmethod
    def __torch_dispatch__(
        cls, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Every use of it is a look."""
        looked = [one.make() if isinstance(one, Lazy) else one for one in args]
        return function(*looked, **(kwargs or {}))


def computes_when_looked_at(config: Config) -> Implementation:
    return lambda a, b: Lazy.of(lambda: a @ b, (*a.shape[:-1], b.shape[-1]))


def no_tensor(config: Config) -> Implementation:
    return lambda a, b: (a @ b, None)


def raises(config: Config) -> Implementation:
    def matmul(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        raise ValueError("nothing doing")

    return matmul


def exits(config: Config) -> Implementation:
    return lambda a, b: sys.exit(3)


def not_for_this(config: Config) -> Implementation:
    raise NotImplementedError("needs CUDA")


def asks_for_too_much(config: Config) -> Implementation:
    return lambda a, b: torch.empty(2**60)


def builds_nothing(config: Config) -> Implementation:
    return None  # type: ignore[return-value]


def changes_global_state(config: Config) -> Implementation:
    torch.set_default_dtype(torch.float16)
    torch.set_float32_matmul_precision("medium")

    def matmul(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        if (
            torch.get_default_dtype() is not torch.float16
            or torch.get_float32_matmul_precision() != "medium"
        ):
            raise RuntimeError("called under other settings than those it was timed with")
        return a @ b

    return matmul
