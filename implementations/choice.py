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
16, where fused is two launches. Time of fused over views there (H200, 2026-11-30; 16 heads of 64,
8 of 128):

    n       GFLOP a branch   bfloat16: forward  causal  backward   float32: forward  causal  backward
    1024    0.1                        0.02     0.02    0.01                0.06     0.06    0.05
    4096    1.7                        0.05     0.05    0.05                0.16     0.13    0.23
    8192    6.7                        0.11     0.09    0.11
    16384   26.6                       0.25     0.17    0.26                0.52     0.35    0.69
    32768   107                        0.48     0.31    0.54
    65536   426                        0.74     0.49    0.91
    16384   26.6 (head_dim 128)        0.36     0.28    0.34                0.57     0.36    0.73
    32768   107 (head_dim 128)         0.64     0.47    0.64

It holds the selected rows of all branches, twice the output at these rates (six times in the
backward pass), so that views, which holds next to nothing, keeps the lengths that barely fit.

With keys in four blocks (ring_v2, bfloat16, the same day) views makes a call for each block of each
branch, and more where heads are taken in windows. Time of fused over views, 8 and 16 heads of 64,
and 8 of 128; over `standard` the plan chosen here takes 0.15 to 1.09:

    n       GFLOP a branch     forward            causal             backward           causal
    4096    1.8, 3.5, 3.6      0.82, 0.58, 0.85   0.48, 0.38, 0.51   0.26, 0.32, 0.28   0.15, 0.18, 0.18
    8192    7.2, 14.0          1.07, 0.82         0.70, 0.54         0.42, 0.58         0.26, 0.33
    16384   28.6, 55.8, 57.3   1.14, 0.83, 1.27   0.95, 0.64, 0.93   0.74, 0.83, 0.79   0.47, 0.55, 0.51
    32768   114, 223, 229      1.00, 0.95, 1.26   0.98, 0.83, 1.10   0.98, 1.13, 1.04   0.74, 0.87, 0.79
    65536   458, 893           1.06, 1.03         1.04, 0.94         1.28, 1.29         1.09, 1.14
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

Limits = dict[int, tuple[float, float]]

FUSED_WIDTH = 256  # head_dim that the fused kernels take at most
MEASURED_WIDTH = 128  # and up to which they were measured
NARROW = 64  # and up to which they are the faster ones in float32 at full accuracy
# By the width that a fused kernel works in, up to: operations of a branch, forward, padding
# included, up to which fused is taken in half precision; forward alone, and with a backward pass.
HALF_LIMITS: Limits = {32: (inf, 30e9), 64: (10e9, 8e9), 128: (3e9, 4.5e9)}
RING_LIMITS: Limits = {64: (250e9, 150e9), 128: (40e9, 150e9)}  # with keys in blocks
LSE_LIMIT = 500e9  # where branches share heads, in any dtype, either way
FLOAT32_WIDE = 5e9  # likewise, of all branches


@dataclass(frozen=True)
class Facts:
    """What the choice depends on.

    Attributes:
        cuda: the trial's device is one.
        fusible: Triton is there, head_dim is at most FUSED_WIDTH, keys are not in blocks under lse.
        shares_heads: heads take several branches (lse).
        in_blocks: keys are in several blocks.
        dtype: float32, float16 or bfloat16.
        tf32: products of float32 may be in tf32.
        backward: the trial has a backward pass.
        cudnn: cuDNN takes every call (Hopper or newer, and the sizes that torch says it can).
        flops: of the attention, forward.
        branches: how many share them.
    """

    cuda: bool
    fusible: bool
    shares_heads: bool
    in_blocks: bool
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
    width = 1 << (facts.head_dim - 1).bit_length()
    work = facts.flops * width / facts.head_dim / facts.branches
    if facts.shares_heads:
        return "fused" if work < LSE_LIMIT else "views"
    if facts.dtype == "float32":
        narrow = facts.tf32 or facts.head_dim <= NARROW
        return "fused" if narrow or facts.flops < FLOAT32_WIDE else "views"
    if not facts.cudnn:
        return "fused"
    limits = RING_LIMITS if facts.in_blocks else HALF_LIMITS
    forward, with_backward = limits[max(width, min(limits))]
    return "fused" if work < (with_backward if facts.backward else forward) else "views"


def _half_rows(limits: Limits) -> list[tuple[str, str, str, str]]:
    """What limits by width say, for RULES."""
    rows = []
    for width, (forward, backward) in limits.items():
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
        "any",
        f"mixing lse: < {LSE_LIMIT / 1e9:g} GFLOP a branch, else views",
        "fused (two Triton launches)",
    ),
    *_half_rows(HALF_LIMITS),
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


def _line(row: tuple[str, str, str, str]) -> str:
    device, dtype, problem, plan = row
    return f"{device:7} {dtype:8} {problem:57} {plan}"


RULES = "\n".join(
    [
        *(_line(row) for row in ROWS),
        "Options plan, block_m, block_n, num_warps, num_stages override it. Figures: implementations/choice.py.",
    ]
)
RING_RULES = "\n".join(
    [
        "by the same rule as improved, with keys in ring_size blocks; under mixing lse always views,",
        "in half precision on a GPU, with several blocks:",
        *(_line(row) for row in _half_rows(RING_LIMITS)),
        "  fused  one Triton launch for each block of keys, over all branches; rows carry their state between launches",
        "  views  one attention call for each branch and block of its segments' keys, all rows at once; merged",
        "Heads or rows are taken in windows where more than 15 % of inputs and output would be held beside them.",
        "Options as of improved: plan, block_m, block_n, num_warps, num_stages.",
    ]
)
