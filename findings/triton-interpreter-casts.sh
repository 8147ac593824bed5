#!/usr/bin/env bash
# triton 3.7.1, TRITON_INTERPRET=1: casts differ from torch and from the hardware.
#
# float32 to bfloat16 cuts the low half off instead of rounding to the nearest; a plain store into
# a bfloat16 tensor does the same. A cast to float8e4nv above 448 wraps into the exponent: neither
# saturated nor NaN, and a NaN becomes a number. torch saturates at 448 and keeps NaN.
#
# Seen: 1.01171875 -> 1.0078125 (torch 1.015625); float8 500 -> 256, inf -> 256, nan -> 384 (torch
# 448, 448, nan); in range 0.3 -> 0.3125 by both.
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
def to_bfloat16(x, out):
    tl.store(out, tl.load(x).to(tl.bfloat16))


@triton.jit
def to_float8(x, out):
    tl.store(out, tl.load(x).to(tl.float8e4nv))
EOF
PYTHONPATH=$work "$venv/bin/python" - <<'EOF'
import sys

import torch
from kernel import to_bfloat16, to_float8


def both(kernel, value, dtype):
    x, out = torch.tensor([value]), torch.zeros(1).to(dtype)
    kernel[(1,)](x, out)
    return str(out.float().item()), str(x.to(dtype).float().item())


float8 = torch.float8_e4m3fn
seen = {"bfloat16": both(to_bfloat16, 1.01171875, torch.bfloat16)}
for value in (500.0, float("inf"), float("nan"), 0.3):
    seen[str(value)] = both(to_float8, value, float8)
print("(interpreter, torch):", seen)
expected = {
    "bfloat16": ("1.0078125", "1.015625"),
    "500.0": ("256.0", "448.0"),
    "inf": ("256.0", "448.0"),
    "nan": ("384.0", "nan"),
    "0.3": ("0.3125", "0.3125"),
}
if seen != expected:
    sys.exit(f"changed: {seen}")
EOF
