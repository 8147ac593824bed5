"""Times attention on one GPU: problems, inputs that take turns, calls on the device and the host.

Device time: CUDA events around a block of calls with the queue kept ahead of the device, inputs
rotated over more than the L2 cache holds, the median over blocks. Host time is the wall clock of a
call in a loop of eager calls, the larger of host and device. Dense attention is torch's kernel on
contiguous inputs of the very sizes of the branches' calls.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import cycle
from statistics import median
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from implementations import DilatedAttentionParams
from implementations.dilated_attention.pattern import Pattern
from implementations.dilated_attention.work import attention_flops

L2_BYTES = 50 * 2**20
BLOCK_S = 0.004
SLEEP_CYCLES = 2_000_000_000  # per second of the device's clock, roughly
BACKENDS = {
    "cuDNN": SDPBackend.CUDNN_ATTENTION,
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
}

Call = Callable[..., Any]


def problem(
    n: int, heads: int, head_dim: int, dtype: str, **changes: Any
) -> DilatedAttentionParams:
    """LongNet's pattern: segments n/4, n/2, n at rates 1, 2, 4."""
    fixed: dict[str, Any] = {
        "batch": 1,
        "segment_lengths": [n // 4, n // 2, n],
        "dilation_rates": [1, 2, 4],
    }
    return DilatedAttentionParams(
        seq_len=n, heads=heads, head_dim=head_dim, dtype=dtype, device="cuda", **(fixed | changes)
    )


def drawn(of: DilatedAttentionParams, grad: bool = False) -> Iterator[tuple[torch.Tensor, ...]]:
    """Sets of q, k, v that together exceed the L2 cache several times, over and over."""
    shape = (of.batch, of.seq_len, of.heads, of.head_dim)
    dtype = getattr(torch, of.dtype)
    size = 3 * torch.empty(shape, dtype=dtype, device="meta").nbytes
    sets = max(2, min(64, 3 * L2_BYTES // size))
    return cycle([_triple(shape, dtype, grad) for _ in range(sets)])


def _triple(
    shape: tuple[int, ...], dtype: torch.dtype, grad: bool = False
) -> tuple[torch.Tensor, ...]:
    """Random q, k and v of one shape."""
    make = partial(torch.randn, shape, dtype=dtype, device="cuda", requires_grad=grad)
    return make(), make(), make()


def dense_sets(
    of: DilatedAttentionParams, grad: bool = False
) -> Iterator[list[tuple[torch.Tensor, ...]]]:
    """The same work as contiguous (B, g, m, d) tensors, one triple per branch."""
    dtype, sets = getattr(torch, of.dtype), 3

    made = []
    for _ in range(sets):
        branches = []
        for piece in Pattern.of(of).pieces:
            segments = of.batch * of.seq_len // piece.segment_length
            shape = (segments, piece.heads, piece.selected, of.head_dim)
            branches.append(_triple(shape, dtype, grad))
        made.append(branches)
    return cycle(made)


def device_ms(call: Call, blocks: int = 15) -> float:
    """Median milliseconds of one call on the device."""
    call()
    torch.cuda.synchronize()
    began = time.perf_counter()
    call()
    host = time.perf_counter() - began
    torch.cuda.synchronize()
    once = time.perf_counter() - began
    calls = max(1, min(100, int(BLOCK_S / once) + 1))
    found = []
    for _ in range(blocks):
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda._sleep(int(SLEEP_CYCLES * (1.5 * host * calls + 2e-4)))
        first.record()
        for _ in range(calls):
            call()
        last.record()
        torch.cuda.synchronize()
        found.append(first.elapsed_time(last) / calls)
    return median(found)


def host_ms(call: Call, calls: int = 100) -> float:
    """Milliseconds of wall clock per eager call in a loop."""
    found = []
    for _ in range(5):
        torch.cuda.synchronize()
        began = time.perf_counter()
        for _ in range(calls // 5):
            call()
        torch.cuda.synchronize()
        found.append((time.perf_counter() - began) / (calls // 5) * 1e3)
    return median(found)


def forward_of(attention: Call, inputs: Iterator[tuple[torch.Tensor, ...]]) -> Call:
    """One call on the next inputs."""
    return lambda: attention(*next(inputs))


def both_of(attention: Call, inputs: Iterator[tuple[torch.Tensor, ...]]) -> Call:
    """Forward and backward."""

    def call() -> Any:
        given = next(inputs)
        out = attention(*given)
        return torch.autograd.grad(out, given, out.detach())

    return call


def dense(backend: str, of: DilatedAttentionParams, backward: bool = False) -> Call:
    """Torch's attention on contiguous tensors of the sizes of the branches' calls."""
    sets = dense_sets(of, backward)

    def call() -> None:
        with sdpa_kernel(BACKENDS[backend]):
            for q, k, v in next(sets):
                out = scaled_dot_product_attention(q, k, v, is_causal=of.causal)
                if backward:
                    torch.autograd.grad(out, (q, k, v), out.detach())

    return call


def single(backend: str, of: DilatedAttentionParams) -> Call:
    """One dense attention call of equal FLOPs: as many heads of m rows."""
    pieces = Pattern.of(of).pieces
    rows = pieces[0].selected
    heads = sum(of.batch * of.seq_len // piece.segment_length * piece.heads for piece in pieces)
    dtype = getattr(torch, of.dtype)
    size = 3 * heads * rows * of.head_dim * dtype.itemsize
    count = max(2, min(64, 3 * L2_BYTES // size))
    shape = (1, heads, rows, of.head_dim)
    sets = cycle([_triple(shape, dtype) for _ in range(count)])

    def call() -> None:
        with sdpa_kernel(BACKENDS[backend]):
            scaled_dot_product_attention(*next(sets), is_causal=of.causal)

    return call


def rate(of: DilatedAttentionParams, ms: float, passes: float = 1.0) -> float:
    """TFLOP/s of useful work."""
    return attention_flops(of) * passes / ms / 1e9
