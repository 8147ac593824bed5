"""The rule of verification on a GPU's own kernels: right ones that round in unlike ways, wrong ones
beside them.

    python -m benchmarks.judging_gpu [--seeds 3] [--only WORDS]

Torch's attention by each of its backends (cuDNN, flash, memory-efficient, and by hand), forward and
backward, causal and not, at head sizes that fill no tile; matrix products with split K and with
reduced-precision reduction; sums by atomics; products of eight-bit floats with and without fast
accumulation. Each is a trial of the worker. Without a GPU nothing is run.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict
from torch.nn.functional import scaled_dot_product_attention

from benchmarks.judging_corpus.trials import judged
from orchestrator.outcome import Outcome
from orchestrator.workload import Config, Problem, Work, Workload

HEADS, POSITIONS = 4, 1000
HEAD_SIZES = (40, 64, 80, 96, 128)
LONG = 16384  # terms of a product whose accumulation shows
BACKENDS = ("MATH", "FLASH_ATTENTION", "EFFICIENT_ATTENTION", "CUDNN_ATTENTION")


class GpuParams(BaseModel):
    """One problem: attention, a product, a sum by atomics, or a product of eight-bit floats."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    problem: str
    dtype: str = "bfloat16"
    size: int = 64
    causal: bool = False
    positive: bool = False
    backward: bool = False


def _inputs(config: Config, _form: str, seed: int) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator(config.device).manual_seed(seed)

    def drawn(*shape: int) -> torch.Tensor:
        values = torch.randn(shape, generator=generator, device=config.device)
        return values.abs() if config.positive else values

    if config.problem == "attention":
        shape = (1, HEADS, POSITIONS, config.size)
        return tuple(drawn(*shape).to(config.dtype) for _ in range(3))
    if config.problem == "fp8":
        pair = drawn(64, config.size), drawn(64, config.size)
        return tuple(one.to(torch.float8_e4m3fn) for one in pair)
    if config.problem == "atomics":
        places = torch.randint(100, (config.size,), generator=generator, device=config.device)
        return drawn(config.size, 32).to(config.dtype), places
    return drawn(48, config.size).to(config.dtype), drawn(config.size, 64).to(config.dtype)


def _reference(problem: Problem) -> torch.Tensor:
    config, inputs = problem.config, problem.inputs
    if config.problem == "fp8":
        left, right = (one.to(problem.dtype) for one in inputs)
        return left @ right.T
    wide = [one.to(problem.dtype) if one.is_floating_point() else one for one in inputs]
    if config.problem == "attention":
        return by_hand(*wide, causal=config.causal)
    if config.problem == "atomics":
        return wide[0].new_zeros(100, 32).index_add(0, wide[1], wide[0])
    return wide[0] @ wide[1]


def by_hand(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *, causal: bool) -> torch.Tensor:
    """Attention of (batch, heads, positions, size), operation by operation."""
    scores = q @ k.mT * q.shape[-1] ** -0.5
    if causal:
        later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).triu(1)
        scores = scores.masked_fill(later, -torch.inf)
    return torch.softmax(scores, -1) @ v


def attention(config: Config) -> Callable[..., torch.Tensor]:
    """Torch's attention by the backend that the options name; a key may be left out."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    backend = getattr(SDPBackend, config.options["backend"])
    keys = slice(None, -1 if config.options.get("wrong") else None)

    def call(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        with sdpa_kernel(backend):
            return scaled_dot_product_attention(
                q, k[..., keys, :], v[..., keys, :], is_causal=config.causal
            )

    return call


def product(config: Config) -> Callable[..., torch.Tensor]:
    """A product by cuBLAS, with parts of K by themselves, or with the last term left out."""
    parts = config.options.get("parts", 1)
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = bool(
        config.options.get("reduced")
    )

    def call(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        if config.options.get("wrong"):
            a, b = a[:, :-1], b[:-1]
        if parts == 1:
            return a @ b
        pairs = zip(a.chunk(parts, 1), b.chunk(parts, 0), strict=True)
        found = [left.float() @ right.float() for left, right in pairs]
        return torch.stack(found).sum(0).to(a.dtype)

    return call


def atomics(config: Config) -> Callable[..., torch.Tensor]:
    """Sums of rows by place, in whatever order they come; or one row lost."""
    lost = 1 if config.options.get("wrong") else 0

    def call(values: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        out = torch.zeros(100, 32, device=values.device)
        kept = slice(lost, None)
        return out.index_add(0, places[kept], values[kept].float()).to(values.dtype)

    return call


def fp8(config: Config) -> Callable[..., torch.Tensor]:
    """A product of eight-bit floats; fast accumulation keeps 14 bits of a sum."""
    fast = bool(config.options.get("fast"))

    def call(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        one = torch.ones((), device=a.device)
        found: torch.Tensor = torch._scaled_mm(
            a, b.T, one, one, out_dtype=torch.bfloat16, use_fast_accum=fast
        )
        return found

    return call


def _work(_params: GpuParams, _form: str) -> Work:
    return Work(flops=1.0, bytes=1.0, tokens=1)


def _precision(params: GpuParams) -> str:
    return params.dtype


WORKLOAD = Workload(
    name="judging_gpu",
    params=GpuParams,
    inputs=_inputs,
    reference=_reference,
    work=_work,
    input_names={"default": ("q", "k", "v")},
    backward=lambda params: params.backward,
    precision=_precision,
)


def cases() -> list[tuple[bool | None, str, dict[str, Any], dict[str, Any]]]:
    """(whether it is right, None where only the figure is of interest; build, params, options)."""
    found: list[tuple[bool | None, str, dict[str, Any], dict[str, Any]]] = []
    for dtype in ("float32", "float16", "bfloat16"):
        for size in HEAD_SIZES:
            for causal in (False, True):
                for backward in (False, True):
                    params = {"problem": "attention", "dtype": dtype, "size": size}
                    params |= {"causal": causal, "backward": backward}
                    by_backend = [{"backend": backend} for backend in BACKENDS]
                    found += [(True, "attention", params, options) for options in by_backend]
        wrong = {"backend": "EFFICIENT_ATTENTION", "wrong": True}
        found.append((False, "attention", {"problem": "attention", "dtype": dtype}, wrong))
        long = {"problem": "product", "dtype": dtype, "size": LONG}
        for options in ({}, {"parts": 8}, {"reduced": True}):
            right = None if "reduced" in options else True
            found.append((right, "product", long, options))
        found.append((False, "product", {**long, "size": 512}, {"wrong": True}))
        many = {"problem": "atomics", "dtype": dtype, "size": 100_000}
        found.append((True, "atomics", many, {}))
        found.append((False, "atomics", many, {"wrong": True}))
    for positive in (False, True):
        eight = {"problem": "fp8", "size": LONG, "positive": positive}
        found.append((True, "fp8", eight, {}))
        found.append((False if positive else None, "fp8", eight, {"fast": True}))
    return found


def main() -> None:
    """Run all cases and say which right ones were refused and which wrong ones passed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default="")
    given = parser.parse_args()
    if not torch.cuda.is_available():
        print("there is no GPU: nothing was run")
        return
    counts = Counter[str]()
    for right, build, params, options in cases():
        stated = [f"{name}={value}" for name, value in {**params, **options}.items()]
        label = " ".join([build, *stated])
        if given.only not in label:
            continue
        for seed in range(given.seeds):
            found = judged(Path(__file__), build, params, options, "cuda:0", seed)
            if found.outcome is Outcome.FAILED and "No available kernel" in found.reason:
                counts["unsupported"] += 1
                continue
            kind = "of interest" if right is None else found.kind(right)
            counts[kind] += 1
            if kind != "as it should be":
                print(f"{label} (seed {seed}): {found.outcome} {found.reason[:200]}", flush=True)
    print(", ".join(f"{count} {name}" for name, count in counts.items()))


if __name__ == "__main__":
    main()
