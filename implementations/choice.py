"""Which plan `improved` and `ring_v2` take for which problem: the rule, and its text for `list
--explain`. No torch.

Measured on one H100 80GB (2026-11-25, torch 2.11, cuDNN 9.19, Triton 3.6), bfloat16, segments n/4,
n/2, n at rates 1, 2, 4, 16 heads, TFLOP/s of useful work, dense being cuDNN on contiguous tensors
of the branches' sizes:

    n       batch  head_dim  work       forward: dense  fused  views   with backward: dense  fused  views
    4096    1      64        10 GFLOP            192    298    227                    186    243    213
    4096    4      64        42 GFLOP            337    355    332                    303    273    278
    8192    1      64        42 GFLOP            332    358    364                    316    299    336
    16384   1      64        168 GFLOP           409    420    432                    394    329    408
    32768   1      64        670 GFLOP           475    456    488                    461    336    463
    4096    1      128       21 GFLOP            296    326    334                    262    282    283
    4096    4      128       84 GFLOP            496    387    459                    394    318    346
    8192    1      128       84 GFLOP            485    446    523                    422    358    439
    32768   1      128       1340 GFLOP          663    541    673                    592    411    595

Below the threshold the difference on the device is small, but three calls of torch's kernels take
0.3 to 0.5 ms of the host where one launch takes 0.03. What counts is the work of a branch, for that
is a call: dense attention of 34 GFLOP in one branch (n 4096, 8 heads) takes 0.098 ms fused, 0.084
by `standard`, 0.075 by cuDNN alone (2026-11-27).

The limits in half precision are where both plans took the same time over 62 random problems on an
H200 (`benchmarks/any_shape.py`, 2026-11-30): head_dim divisible by 8, 1 to 4 branches, causal or
not. A fused kernel multiplies features up to the next power of two, so its work is counted with
them: GFLOP a branch, forward, times 2^k / head_dim. Time of fused over views there:

    head_dim   forward                                     with backward
    16 to 32   0.64 to 0.89 up to 135 GFLOP                0.65 to 0.90 up to 3, 1.13 at 101
    40 to 64   0.84 to 1.25 up to 15, 0.96 to 1.10 beyond  0.66 to 0.81 up to 3, 1.09 at 16
    72 to 128  0.58 to 0.98 up to 2.7, 1.05 to 1.6 beyond  0.54 to 0.88 up to 2.7, 0.86 to 1.47 on

float32 at full accuracy, 8 heads, n 8192: fused 42, views 43 (head_dim 128; with backward 28 and
37); head_dim 64: fused 43, views 23 (with backward 35 and 22). Only the fused kernel does tf32.
Where views merges branches (lse), or they are projected one by one, the same kernel serves each of
them in float32 (`implementations.kernels.dense`).

Under lse views is as many calls and merges as there are offsets: 31 for five branches at rates 1 to
16, 1.23 ms of the host at n 8192, where fused is two launches.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

FUSED_WIDTH = 256  # head_dim that the fused kernels take at most
MEASURED_WIDTH = 128  # and up to which they were measured
NARROW = 64  # and up to which they are the faster ones in float32 at full accuracy
# By the width that a fused kernel works in, up to: operations of a branch, forward, padding
# included, up to which fused is taken in half precision; forward alone, and with a backward pass.
HALF_LIMITS = {32: (inf, 30e9), 64: (10e9, 8e9), 128: (3e9, 4.5e9)}
# Likewise where branches share heads (lse), either way; to be measured.
LSE_LIMIT = 20e9
FLOAT32_WIDE = 5e9  # likewise, of all branches


@dataclass(frozen=True)
class Facts:
    """What the choice depends on.

    Attributes:
        cuda: the trial's device is one.
        fusible: Triton is there, head_dim is at most FUSED_WIDTH, keys are not in blocks under lse.
        mixing: head_groups or lse.
        dtype: float32, float16 or bfloat16.
        tf32: products of float32 may be in tf32.
        backward: the trial has a backward pass.
        cudnn: cuDNN takes every call (Hopper or newer, and the sizes that torch says it can).
        flops: of the attention, forward.
        branches: how many share them.
    """

    cuda: bool
    fusible: bool
    mixing: str
    dtype: str
    tf32: bool
    backward: bool
    head_dim: int
    cudnn: bool
    flops: float
    branches: int


def choose(facts: Facts) -> str:
    """The plan: fused or views. RULES says the same in words."""
    if not facts.cuda or not facts.fusible or facts.head_dim > MEASURED_WIDTH:
        return "views"
    if facts.dtype == "float32":
        narrow = facts.tf32 or facts.head_dim <= NARROW
        return "fused" if narrow or facts.flops < FLOAT32_WIDE else "views"
    if not facts.cudnn:
        return "fused"
    width = 1 << (facts.head_dim - 1).bit_length()
    work = facts.flops * width / facts.head_dim / facts.branches
    return "fused" if work < _half_limit(facts, width) else "views"


def _half_limit(facts: Facts, width: int) -> float:
    """Operations of a branch, forward, padding included, up to which fused is taken."""
    if facts.mixing == "lse":
        return LSE_LIMIT
    forward, with_backward = HALF_LIMITS[max(width, min(HALF_LIMITS))]
    return with_backward if facts.backward else forward


def _half_rows() -> list[tuple[str, str, str, str]]:
    """What HALF_LIMITS says, for RULES."""
    rows = []
    for width, (forward, backward) in HALF_LIMITS.items():
        most = "any" if forward == inf else f"< {forward / 1e9:g}"
        problem = f"head_dim to {width}: {most}, backward < {backward / 1e9:g} GFLOP a branch"
        rows.append(("cuda", "half", problem, "fused (one Triton launch)"))
    return rows


ROWS = (
    ("device", "dtype", "problem", "plan"),
    ("cpu", "any", "any", "views (torch's CPU kernel)"),
    ("cuda", "any", f"head_dim > {MEASURED_WIDTH}, or no Triton", "views"),
    (
        "cuda",
        "half",
        f"mixing lse: < {LSE_LIMIT / 1e9:g} GFLOP a branch",
        "fused (two Triton launches)",
    ),
    *_half_rows(),
    ("cuda", "half", "more, Hopper or newer", "views (cuDNN, branches at once)"),
    ("cuda", "half", "more, other devices", "fused"),
    (
        "cuda",
        "float32",
        f"head_dim <= {NARROW}, or < {FLOAT32_WIDE / 1e9:.0f} GFLOP",
        "fused (three tf32 products)",
    ),
    (
        "cuda",
        "float32",
        f"head_dim {NARROW + 1} to {MEASURED_WIDTH}, more",
        "views (memory-efficient kernel)",
    ),
    ("cuda", "tf32", "any", "fused"),
)
RULES = "\n".join(
    [
        *(f"{device:7} {dtype:8} {problem:57} {plan}" for device, dtype, problem, plan in ROWS),
        "Options plan, block_m, block_n, num_warps, num_stages override it. Figures: implementations/choice.py.",
    ]
)
RING_RULES = "\n".join(
    [
        "by the same rule as improved, with keys in ring_size blocks; under mixing lse always views:",
        "  fused  one Triton launch for each block of keys, over all branches; rows carry their state between launches",
        "  views  one attention call for each branch and block of its segments' keys, all rows at once; merged",
        "Heads or rows are taken in windows where more than 15 % of inputs and output would be held beside them.",
        "Options as of improved: plan, block_m, block_n, num_warps, num_stages.",
    ]
)
