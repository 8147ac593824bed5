#!/usr/bin/env bash
# triton 3.7.1, TRITON_INTERPRET=1: four reductions, four treatments of one NaN.
#
# tl.max ignores a NaN while tl.argmax returns its index, so the pair does not belong together.
# tl.maximum defaults to propagate_nan=NONE, which promises the other operand, and returns NaN in
# the interpreter. tl.sort compares and exchanges: a NaN is lost and another value appears twice.
#
# Seen for [3, nan, 1, 2]: max 3, argmax 1, maximum(nan, 1) nan, sort [1, 2, 3, 3].
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
def reduce(x, top, place, pair, ordered, N: tl.constexpr):
    row = tl.arange(0, N)
    block = tl.load(x + row)
    tl.store(top, tl.max(block, axis=0))
    tl.store(place, tl.argmax(block, axis=0))
    tl.store(pair, tl.maximum(tl.load(x + 1), 1.0))
    tl.store(ordered + row, tl.sort(block))
EOF
PYTHONPATH=$work "$venv/bin/python" - <<'EOF'
import sys

import torch
from kernel import reduce

x = torch.tensor([3.0, float("nan"), 1.0, 2.0])
top, pair, ordered = torch.zeros(1), torch.zeros(1), torch.zeros(4)
place = torch.zeros(1, dtype=torch.int32)
reduce[(1,)](x, top, place, pair, ordered, N=4)
seen = (top.item(), place.item(), str(pair.item()), ordered.tolist())
print("max, argmax, maximum, sort:", seen)
if seen != (3.0, 1, "nan", [1.0, 2.0, 3.0, 3.0]):
    sys.exit(f"changed: {seen}")
EOF
