#!/usr/bin/env bash
# triton 3.7.1, TRITON_INTERPRET=1: arithmetic on bfloat16 returns nonsense and raises nothing.
#
# The interpreter keeps a bfloat16 block as a numpy array of uint16. Addition, tl.sum and tl.dot
# work on these integers. The documentation says that bfloat16 is unsupported there and to cast to
# float32 first; a kernel that does not is wrong without a message, as float16 is right.
#
# Seen: bfloat16 256 + 1 = -3.7616e-37, sum of 4,096 ones 0, dot of two 16 x 16 blocks of ones
# above 1e9; float16 2048 + 1 = 2048 (as on a GPU), sum of 4,096 ones 4096, dot 16.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet torch==2.13.0 numpy==2.4.6 triton==3.7.1
cd "$work"
export TRITON_INTERPRET=1
cat > kernel.py <<'EOF'
import triton
import triton.language as tl


@triton.jit
def add(a, b, out):
    tl.store(out, tl.load(a) + tl.load(b))


@triton.jit
def total(x, out, N: tl.constexpr):
    tl.store(out, tl.sum(tl.load(x + tl.arange(0, N)), axis=0))


@triton.jit
def dot(x, out, N: tl.constexpr):
    row = tl.arange(0, N)
    block = tl.load(x + row[:, None] * N + row[None, :])
    tl.store(out + row[:, None] * N + row[None, :], tl.dot(block, block))
EOF
PYTHONPATH=$work "$venv/bin/python" - <<'EOF'
import sys

import torch
from kernel import add, dot, total

seen = {}
for name, big in (("bfloat16", 256.0), ("float16", 2048.0)):
    dtype = getattr(torch, name)
    one, sum_, out = torch.zeros(1), torch.zeros(1), torch.zeros(16, 16)
    add[(1,)](torch.tensor([big], dtype=dtype), torch.ones(1, dtype=dtype), one)
    total[(1,)](torch.ones(4096, dtype=dtype), sum_, N=4096)
    dot[(1,)](torch.ones(16, 16, dtype=dtype), out, N=16)
    seen[name] = (one.item(), sum_.item(), out[0, 0].item())
print(seen)
add_, sum_, dot_ = seen["bfloat16"]
if not (abs(add_) < 1e-30 and sum_ == 0 and dot_ > 1e9):
    sys.exit(f"changed: {seen}")
if seen["float16"] != (2048.0, 4096.0, 16.0):
    sys.exit(f"changed: {seen}")
EOF
