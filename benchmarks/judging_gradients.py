"""How often right gradients are refused and wrong ones pass, of code as people write it.

    python -m benchmarks.judging_gradients [--seeds 3] [--first-seed 0]

Each operator of torch is the reference. Right are the operator itself and the formula written out,
run operation by operation in the trial's dtype with autograd's gradients; wrong are the operator's
gradients with a fault in the first of them. Inputs with structure are tried as well.
"""

from __future__ import annotations

import argparse
import math
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import torch
from pydantic import BaseModel
from torch.nn import functional

from orchestrator.usercode.implementation import Implementation
from orchestrator.verify.caller import Caller
from orchestrator.verify.rule.judgement import Judgement
from orchestrator.verify.verifier import Verifier
from orchestrator.workload import Config, Problem, Work, Workload

Function = Callable[..., torch.Tensor]
Shapes = tuple[tuple[int, ...], ...]
DTYPES = ("float32", "float16", "bfloat16")
ROWS: Shapes = ((256, 512),)
ATTENTION: Shapes = ((2, 4, 64, 32),) * 3


class Params(BaseModel):
    """Of a trial."""

    dtype: str


def layer_norm(x: torch.Tensor) -> torch.Tensor:
    """Of rows, by its formula."""
    centred = x - x.mean(-1, keepdim=True)
    return centred * torch.rsqrt((centred * centred).mean(-1, keepdim=True) + 1e-5)


def softmax(x: torch.Tensor) -> torch.Tensor:
    """Of rows; autograd goes through the maximum."""
    raised = torch.exp(x - x.amax(-1, keepdim=True))
    return raised / raised.sum(-1, keepdim=True)


def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """By two products."""
    return torch.softmax(q @ k.mT / math.sqrt(q.shape[-1]), -1) @ v


def causal(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """By two products and a mask; the gradient of the first row of q is 0."""
    later = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool).triu(1)
    scores = (q @ k.mT / math.sqrt(q.shape[-1])).masked_fill(later, -torch.inf)
    return torch.softmax(scores, -1) @ v


OPERATORS: Mapping[str, tuple[Shapes, Function, Function]] = {
    "attention": (ATTENTION, functional.scaled_dot_product_attention, attention),
    "batch norm": (
        ((32, 16, 40),),
        lambda x: functional.batch_norm(x, None, None, training=True),
        lambda x: (
            (x - x.mean((0, 2), keepdim=True))
            * torch.rsqrt(x.var((0, 2), correction=0, keepdim=True) + 1e-5)
        ),
    ),
    "causal attention": (
        ATTENTION,
        lambda q, k, v: functional.scaled_dot_product_attention(q, k, v, is_causal=True),
        causal,
    ),
    "distances": (
        ((64, 48), (50, 48)),
        torch.cdist,
        lambda x, y: (x[:, None] - y[None]).square().sum(-1).sqrt(),
    ),
    "gelu": (ROWS, functional.gelu, lambda x: 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))),
    "huber": (
        ROWS * 2,
        lambda x, y: functional.huber_loss(x, y, reduction="none"),
        lambda x, y: torch.where((x - y).abs() < 1, 0.5 * (x - y) ** 2, (x - y).abs() - 0.5),
    ),
    "layer norm": (ROWS, lambda x: functional.layer_norm(x, (512,)), layer_norm),
    "linear, gelu": (
        ((256, 128), (96, 128), (96,)),
        lambda x, w, b: functional.gelu(functional.linear(x, w, b)),
        lambda x, w, b: functional.gelu(x @ w.T + b),
    ),
    "log softmax": (
        ROWS,
        lambda x: torch.log_softmax(x, -1),
        lambda x: x - torch.logsumexp(x, -1, keepdim=True),
    ),
    "mish": (ROWS, functional.mish, lambda x: x * torch.tanh(functional.softplus(x))),
    "rms norm": (
        ROWS,
        lambda x: functional.rms_norm(x, (512,), eps=1e-5),
        lambda x: x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-5),
    ),
    "silu": (ROWS, functional.silu, lambda x: x * torch.sigmoid(x)),
    "softmax": (ROWS, lambda x: torch.softmax(x, -1), softmax),
    "unit vectors": (
        ROWS,
        lambda x: functional.normalize(x, dim=-1),
        lambda x: x / (x.norm(dim=-1, keepdim=True) + 1e-12),
    ),
}


def _typical_lost(rows: torch.Tensor) -> None:
    """The element nearest to the root mean square becomes 0."""
    flat = rows.view(-1)
    flat[(rows.abs() - rows.square().mean().sqrt()).abs().argmin()] = 0


def _tile_lost(rows: torch.Tensor) -> None:
    rows[len(rows) // 2 + 5, 8:24] = 0


def _row_lost(rows: torch.Tensor) -> None:
    rows[-1] = 0


def _row_small(rows: torch.Tensor) -> None:
    rows[len(rows) // 3] *= 0.9


def _column_lost(rows: torch.Tensor) -> None:
    rows[:, -1] = 0


def _columns_small(rows: torch.Tensor) -> None:
    rows[:, -8:] *= 0.95


def _rows_swapped(rows: torch.Tensor) -> None:
    rows[[1, 2]] = rows[[2, 1]]


def _common_factor(rows: torch.Tensor) -> None:
    rows *= 1.02


def _noisy(rows: torch.Tensor) -> None:
    rows += 0.03 * rows.abs() * torch.randn(rows.shape, generator=torch.Generator().manual_seed(0))


FAULTS = {
    "one element lost": _typical_lost,
    "sixteen neighbours lost": _tile_lost,
    "the last row lost": _row_lost,
    "a row times 0.9": _row_small,
    "the last column lost": _column_lost,
    "eight columns times 0.95": _columns_small,
    "two rows swapped": _rows_swapped,
    "times 1.02": _common_factor,
    "3 % of noise": _noisy,
}


def faulty(function: Function, fault: Callable[[torch.Tensor], None]) -> Function:
    """The function, computed in float32 and rounded once, the gradient of its first input damaged."""

    class Damaged(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *inputs: torch.Tensor) -> torch.Tensor:
            ctx.save_for_backward(*inputs)
            return function(*(one.float() for one in inputs)).to(inputs[0].dtype)

        @staticmethod
        def backward(ctx: Any, upstream: torch.Tensor) -> Any:
            own = [one.detach().float().requires_grad_() for one in ctx.saved_tensors]
            with torch.enable_grad():
                out = function(*own)
            found = list(torch.autograd.grad(out, own, upstream.float()))
            found[0] = found[0].contiguous().clone()
            fault(found[0].view(-1, found[0].shape[-1]))
            return tuple(one.to(upstream.dtype) for one in found)

    return lambda *inputs: Damaged.apply(*inputs)  # type: ignore[no-untyped-call]


def judged(
    function: Function, reference: Function, shapes: Shapes, dtype: str, seed: int
) -> Judgement:
    """The verdict on a function and its gradients."""

    def draw(config: Config, _form: str, drawn: int) -> tuple[torch.Tensor, ...]:
        generator = torch.Generator().manual_seed(drawn)
        return tuple(torch.randn(shape, generator=generator).to(config.dtype) for shape in shapes)

    def right(problem: Problem) -> torch.Tensor:
        return reference(*(one.to(problem.dtype) for one in problem.inputs))

    workload = Workload(
        name="gradients",
        params=Params,
        inputs=draw,
        reference=right,
        work=lambda _params, _form: Work(flops=1.0, bytes=1.0),
        backward=lambda _params: True,
    )
    config = Config({"dtype": dtype}, "cpu")
    names = tuple("abc"[: len(shapes)])
    built = Implementation(function, config, "default", True, names)
    caller = Caller(workload, Params(dtype=dtype), built, seed, seed + 1)
    return Verifier(caller, None, None).verify("before", structures=True)


def main() -> None:
    """Try everything and print what was refused and what was missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    given = parser.parse_args()
    # a process's first gradient takes its time
    judged(torch.exp, torch.exp, ((2, 2),), "float32", 0)
    runs, refused, missed = Counter[str](), Counter[str](), Counter[str]()
    for name, (shapes, operator, by_hand) in OPERATORS.items():
        for dtype in DTYPES:
            for seed in range(given.first_seed, given.first_seed + given.seeds):
                for label, function in (("itself", operator), ("by hand", by_hand)):
                    runs["right"] += 1
                    found = judged(function, operator, shapes, dtype, seed)
                    if not found.ok:
                        refused[f"{name} [{dtype}]: {label}"] += 1
                        print(f"{name} [{dtype}], {label} (seed {seed}): {str(found)[:200]}")
                for label, fault in FAULTS.items():
                    runs["wrong"] += 1
                    if judged(faulty(operator, fault), operator, shapes, dtype, seed).ok:
                        missed[f"{name} [{dtype}]: {label}"] += 1
    for title, counts, kind in (
        ("right ones refused", refused, "right"),
        ("faults missed", missed, "wrong"),
    ):
        print(f"{title}: {counts.total()} of {runs[kind]}")
        for label, count in counts.most_common():
            print(f"  {count:4d}  {label}")


if __name__ == "__main__":
    main()
