"""The attention of `improved` against dense attention of equal FLOPs, on one GPU, outside the
orchestrator.

    python benchmarks/attention.py [check] [large] [small] [float32] [ring] [multihead]

What is timed, and how: `attention_timing.py`.
"""

from __future__ import annotations

import sys
import time
from itertools import cycle
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.attention_timing import (
    Call,
    both_of,
    dense,
    device_ms,
    drawn,
    forward_of,
    host_ms,
    problem,
    rate,
    single,
)
from implementations import DilatedAttentionParams, load
from implementations.dilated_attention.pattern import Pattern
from implementations.kernels.precision import matmul_precision
from implementations.ring import spec_of as ring_spec
from orchestrator.workload import Config


def right(
    of: DilatedAttentionParams, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor
) -> torch.Tensor:
    """The definition in float64, by slices; head_groups."""
    pattern = Pattern.of(of)
    out = torch.zeros_like(q)
    for piece in pattern.pieces:
        for first in range(0, of.seq_len, piece.segment_length):
            rows = slice(first + piece.offset, first + piece.segment_length, piece.rate)
            heads = slice(piece.first_head, piece.last_head)
            a, b, c = (t[:, rows, heads].transpose(1, 2) for t in (q, k, v))
            scores = a @ b.transpose(-1, -2) * of.head_dim**-0.5
            if of.causal:
                above = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).triu(1)
                scores = scores.masked_fill(above, -torch.inf)
            out[:, rows, heads] = (scores.softmax(-1) @ c).transpose(1, 2) * pattern.scale
    return out


def errors(of: DilatedAttentionParams, attention: Call) -> list[float]:
    """Relative errors of output, dq, dk and dv against float64."""
    given = [t.detach().clone().requires_grad_() for t in next(drawn(of))]
    doubles = [t.detach().double().requires_grad_() for t in given]
    out, truth = attention(*given), right(of, *doubles)
    upstream = torch.randn_like(out)
    found = (out, *torch.autograd.grad(out, given, upstream))
    wanted = (truth, *torch.autograd.grad(truth, doubles, upstream.double()))
    return [
        float((a.detach().double() - b.detach()).norm() / b.detach().norm())
        for a, b in zip(found, wanted, strict=True)
    ]


def check() -> None:
    """Every plan in every dtype against float64."""
    for dtype in ("bfloat16", "float16", "float32"):
        for plan in ("fused", "views"):
            for precision in ("ieee", "tf32") if dtype == "float32" else ("ieee",):
                for causal in (False, True):
                    of = problem(2048, 5, 64, dtype, causal=causal, matmul_precision=precision)
                    found = errors(of, load("improved").build(of, {"plan": plan}))
                    print(
                        f"{dtype:9} {plan:6} {precision} causal={causal!s:5}",
                        *(f"{e:.1e}" for e in found),
                    )


def large() -> None:
    """Goals of bf16 from 50 GFLOP on: forward, and forward with backward, against dense cuDNN."""
    for n, heads, head_dim in ((32768, 16, 128), (32768, 16, 64), (8192, 16, 128), (8192, 16, 64)):
        for passes, wrap in ((1.0, forward_of), (3.5, both_of)):
            backward = passes > 1
            direction = "forward_backward" if backward else "forward"
            of = problem(n, heads, head_dim, "bfloat16", direction=direction)
            base = rate(of, device_ms(dense("cuDNN", of, backward)), passes)
            line = f"n {n} H {heads} d {head_dim} {'fwd+bwd' if backward else 'fwd':8} dense {base:6.1f}"
            for options in ({}, {"plan": "views"}, {"plan": "fused"}):
                call = wrap(load("improved").build(of, options), drawn(of, backward))
                found = rate(of, device_ms(call), passes)
                line += f" | {options.get('plan', 'chosen')} {found:6.1f} ({found / base:.3f})"
            print(line)


def small() -> None:
    """The seed's shapes: against one dense call of equal FLOPs and against standard; device, and
    host-side eager.
    """
    for dtype in ("bfloat16", "float32"):
        backends = ("cuDNN", "flash") if dtype == "bfloat16" else ("efficient",)
        for n, heads, batch in (
            (1024, 8, 1),
            (1024, 16, 4),
            (2048, 8, 1),
            (4096, 8, 1),
            (4096, 16, 1),
            (4096, 16, 4),
        ):
            of = problem(n, heads, 64, dtype, batch=batch)
            base = min(device_ms(single(backend, of)) for backend in backends)
            line = f"{dtype} b {batch} n {n} H {heads}: one dense {base:.4f} ms"
            for name, options in (
                ("standard", {}),
                ("improved", {}),
                ("improved", {"plan": "views"}),
            ):
                call = forward_of(load(name).build(of, options), drawn(of))
                line += f" | {name} {options.get('plan', '')} {device_ms(call):.4f} host {host_ms(call):.4f}"
            print(line)


def float32() -> None:
    """Float32 at full accuracy against the dense memory-efficient kernel, and tf32; forward, and
    with backward.
    """
    for n, head_dim in ((8192, 64), (8192, 128), (32768, 64)):
        line = f"n {n} d {head_dim}:"
        for passes, wrap in ((1.0, forward_of), (3.5, both_of)):
            of = problem(
                n, 8, head_dim, "float32", direction="forward_backward" if passes > 1 else "forward"
            )
            base = rate(of, device_ms(dense("efficient", of, passes > 1), 5), passes)
            line += f" {'| fwd+bwd' if passes > 1 else 'fwd'} dense efficient {base:.1f}"
            for precision in ("ieee", "tf32"):
                asked = of.model_copy(update={"matmul_precision": precision})
                call = wrap(load("improved").build(asked), drawn(asked, passes > 1))
                line += f" {precision} {rate(of, device_ms(call, 5), passes):.1f}"
        print(line)


def peak_ratio(call: Call, of: DilatedAttentionParams) -> float:
    """Peak of the op over inputs + output."""
    held = 4 * of.batch * of.seq_len * of.heads * of.head_dim * getattr(torch, of.dtype).itemsize
    call()
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    call()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before + held * 3 / 4) / held


MILLION = {"segment_lengths": [62500, 250000, 1000000], "dilation_rates": [4, 16, 64]}
RINGS: tuple[tuple[int, str, bool, dict[str, Any]], ...] = (
    *((n, "bfloat16", False, {}) for n in (2048, 8192, 16384, 32768, 131072)),
    *((n, "float32", False, {}) for n in (8192, 32768)),
    (1000000, "bfloat16", False, MILLION),
    (1000000, "float32", False, MILLION),
    (16384, "bfloat16", False, {"segment_lengths": [16384], "dilation_rates": [1]}),
    (8192, "bfloat16", True, {}),
    (32768, "bfloat16", True, {}),
)
RING_CALLS: tuple[tuple[str, int, dict[str, str]], ...] = (
    ("standard", 1, {}),
    ("ring_v2", 1, {}),
    ("ring_v2", 4, {"plan": "fused"}),
    ("ring_v2", 4, {"plan": "views"}),
)


def ring() -> None:
    """ring_v2 on one rank against standard: time, ratio to standard, peak of the op over inputs +
    output.

    Both plans in four blocks; the one it chooses has a star.
    """
    for n, dtype, backward, changes in RINGS:
        line = f"n {n} {dtype} {'fwd+bwd' if backward else 'fwd'}"
        base = 0.0
        for name, size, options in RING_CALLS:
            direction = "forward_backward" if backward else "forward"
            of = problem(n, 8, 64, dtype, ring_size=size, direction=direction, **changes)
            line += f" segments {of.segment_lengths} rates {of.dilation_rates}:" if not base else ""
            shape, kind = (of.batch, n, of.heads, of.head_dim), getattr(torch, dtype)
            given = tuple(
                torch.randn(shape, dtype=kind, device="cuda", requires_grad=backward) for _ in "qkv"
            )
            call = (both_of if backward else forward_of)(
                load(name).build(of, options), cycle([given])
            )
            peak = peak_ratio(call, of)
            ms = device_ms(call, 5)
            base = base or ms
            star = (
                "*"
                if options
                and options["plan"] == chosen(Config(of.model_dump(exclude={"device"}), "cuda"))
                else ""
            )
            what = f"ring-{size} {options.get('plan', '')}{star}" if name == "ring_v2" else name
            line += f" | {what} {ms:.3f} ms ({ms / base:.2f}) peak {peak:.2f}"
        print(line, flush=True)


def chosen(config: Config) -> str:
    """The plan that ring_v2 would take."""
    return ring_spec(config).plan


def multihead() -> None:
    """multihead_improved over multihead_standard, against what the saved projections allow."""
    shapes: tuple[tuple[int, int, int, bool, dict[str, str]], ...] = (
        *(
            (*shape, False, {"dtype": "bfloat16"})
            for shape in ((8192, 16, 64), (8192, 16, 128), (32768, 16, 64))
        ),
        (8192, 16, 64, True, {"dtype": "bfloat16"}),
        (8192, 16, 64, False, {"dtype": "float32"}),
        (8192, 16, 64, True, {"dtype": "float32"}),
        (8192, 16, 64, False, {"dtype": "float32", "matmul_precision": "tf32"}),
    )
    for n, heads, head_dim, backward, how in shapes:
        of = problem(n, heads, head_dim, **how)
        embed, dtype = heads * head_dim, getattr(torch, of.dtype)
        found = {}
        x = torch.randn(1, n, embed, dtype=dtype, device="cuda", requires_grad=backward)
        for name in ("multihead_standard", "multihead_improved"):
            layer = load(name).build(of)

            def call(layer: Any = layer) -> None:
                out = layer(x)  # noqa: B023
                if backward:  # noqa: B023
                    torch.autograd.grad(out, [x, *layer.parameters()], out.detach())  # noqa: B023

            with torch.set_grad_enabled(backward):
                found[name] = (device_ms(call, 7), host_ms(call, 20))
        weight = torch.randn(embed, embed, dtype=dtype, device="cuda")
        with torch.no_grad(), matmul_precision(of.matmul_precision == "tf32"):
            project = 4 * device_ms(lambda: x @ weight, 7)  # noqa: B023
        attend = device_ms(forward_of(load("improved").build(of), drawn(of)), 7)
        allowed = (project + attend) / (0.6875 * project + attend)
        (slow, slow_host), (fast, fast_host) = found.values()
        print(
            f"n {n} H {heads} d {head_dim} {' '.join(how.values())} {'fwd+bwd' if backward else 'fwd'}:"
            f" standard {slow:.3f} ms (host {slow_host:.3f}) improved {fast:.3f} ({fast_host:.3f})"
            f" ratio {slow / fast:.3f} allowed {allowed:.3f} (P {project:.3f} A {attend:.3f})"
        )


def main(sections: list[str]) -> None:
    """Print the sections asked for, or all."""
    print(torch.cuda.get_device_name(), torch.__version__)
    for section in (check, large, small, float32, ring, multihead):
        if not sections or section.__name__ in sections:
            print(f"== {section.__name__}", flush=True)
            began = time.perf_counter()
            section()
            print(f"   ({time.perf_counter() - began:.0f} s)", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
