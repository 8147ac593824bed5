"""Shapes, layouts and comparisons that the tests of implementations share."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from implementations import DilatedAttentionParams, load
from implementations.dilated_attention import WORKLOAD
from orchestrator.workload import Config, Expected, Problem
from tests.implementations import oracle

QKV = ("standard", "improved", "ring_v2")
MULTIHEAD = ("multihead_standard", "multihead_improved")
TOLERANCE = {"float32": 5e-6, "float16": 3e-3, "bfloat16": 2e-2}


class Sizes(TorchDispatchMode):
    """Bytes of each tensor that an operation made anew: no views, nothing written in place."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes: list[int] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for t in made if isinstance(made, tuple | list) else (made,):
            if (
                isinstance(t, torch.Tensor)
                and not t._is_view()
                and not any(t is given for given in args)
            ):
                self.bytes.append(t.numel() * t.element_size())
        return made


def params(**changes: Any) -> DilatedAttentionParams:
    """Uneven head groups and rates that do not divide their segments, unless changed."""
    small: dict[str, Any] = {
        "batch": 2,
        "seq_len": 48,
        "heads": 5,
        "head_dim": 4,
        "segment_lengths": [12, 48],
        "dilation_rates": [5, 7],
        "device": "cpu",
    }
    return DilatedAttentionParams(**(small | changes))


@st.composite
def any_params(
    draw: st.DrawFn, longest: int = 60, most_heads: int = 7, **fixed: Any
) -> DilatedAttentionParams:
    """Any small problem: branches in any order, rates up to the segment length, groups of any size."""
    n = draw(st.sampled_from([n for n in (1, 7, 24, 32, 60) if n <= longest]))
    divisors = [s for s in range(1, n + 1) if n % s == 0]
    lengths = draw(st.lists(st.sampled_from(divisors), min_size=1, max_size=3))
    drawn: dict[str, Any] = {
        "batch": draw(st.integers(1, 3)),
        "seq_len": n,
        "heads": draw(st.integers(len(lengths), most_heads)),
        "head_dim": draw(st.sampled_from([1, 3, 8])),
        "segment_lengths": lengths,
        "dilation_rates": [draw(st.integers(1, min(length, 9))) for length in lengths],
        "causal": draw(st.booleans()),
        "mixing": draw(st.sampled_from(["head_groups", "lse"])),
        "ring_size": draw(st.sampled_from([1, 2, 3, 5, n, n + 3])),
        "device": "cpu",
    }
    return DilatedAttentionParams(**(drawn | fixed))


def config(of: DilatedAttentionParams) -> Config:
    return Config(of.model_dump(exclude={"device"}), "cpu")


def inputs(
    of: DilatedAttentionParams, form: str = "qkv", seed: int = 0
) -> tuple[torch.Tensor, ...]:
    return WORKLOAD.inputs(config(of), form, seed)


def state(of: DilatedAttentionParams, seed: int = 0) -> dict[str, torch.Tensor]:
    assert WORKLOAD.state is not None
    return dict(WORKLOAD.state(config(of), "multihead", seed))


def problem(of: DilatedAttentionParams, form: str = "qkv", **changes: Any) -> Problem:
    """A verification in float64 of the whole output, unless changed."""
    parameters = state(of) if form == "multihead" else {}
    asked: dict[str, Any] = {"dtype": torch.float64, "max_flops": 1e30, "seed": 1}
    return Problem(config(of), form, inputs(of, form), parameters, **(asked | changes))


def built(name: str, of: DilatedAttentionParams) -> Any:
    """The implementation, a multihead one with the parameters that `state` draws."""
    implementation = load(name).build(of)
    if name in MULTIHEAD:
        implementation.load_state_dict(state(of), strict=True)
    return implementation


def laid_out(t: torch.Tensor, layout: str) -> torch.Tensor:
    """The same values (b, n, H, d) in memory laid out otherwise."""
    if layout == "heads first":
        return t.transpose(1, 2).contiguous().transpose(1, 2)
    if layout == "packed":
        return torch.stack([t, t], dim=2)[:, :, 1]
    if layout == "batch inside":
        return t.transpose(0, 1).contiguous().transpose(0, 1)
    if layout == "every other feature":
        return torch.stack([t, t], dim=-1).flatten(-2)[..., ::2]
    return t.contiguous()


def relative(actual: torch.Tensor, right: torch.Tensor) -> float:
    """Relative Frobenius error; absolute where the right answer is nothing."""
    norm = float(right.double().norm())
    return float((actual.detach().double() - right.double()).norm()) / (
        norm if norm > 1e-6 else 1.0
    )


def expected_error(answer: Any, truth: torch.Tensor) -> float:
    """How far the rows of a reference's answer are from the whole truth; its zeros must be zeros."""
    if not isinstance(answer, Expected):
        return relative(answer, truth)
    assert answer.index is not None
    if answer.zeros is not None:
        assert not truth[answer.zeros.expand(truth.shape[:-1])].any()
    return relative(answer.values, truth[answer.index])


def oracle_gradients(
    of: DilatedAttentionParams, form: str, given: tuple[torch.Tensor, ...], upstream: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Output and gradients by name, by autograd through the oracle in float64."""
    leaves = [t.detach().double().requires_grad_() for t in given]
    names, weights = list(WORKLOAD.input_names[form]), {}
    if form == "multihead":
        weights = {name: value.double().requires_grad_() for name, value in state(of).items()}
        out = oracle.multihead(of, leaves[0], weights)
    else:
        out = oracle.attention(of, *leaves)
    found = torch.autograd.grad(out, [*leaves, *weights.values()], upstream.double())
    keys = [f"grad_{name}" for name in (*names, *weights)]
    return {"output": out.detach(), **dict(zip(keys, found, strict=True))}
