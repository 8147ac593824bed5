#!/usr/bin/env bash
# triton 3.7.1, TRITON_INTERPRET=1: fma is not fused.
#
# A fused multiply-add rounds once; that is why a kernel asks for it. The interpreter computes the
# product in float32 and adds, so the low bits that fma exists to keep are gone.
#
# Seen for x = 1 + 2**-12: fma(x, x, -1) is 0.00048828125, one rounding gives 0.00048834085.
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
def square_minus_one(x, out):
    tl.store(out, tl.fma(tl.load(x), tl.load(x), -1.0))
EOF
PYTHONPATH=$work "$venv/bin/python" - <<'EOF'
import sys

import numpy as np
import torch
from kernel import square_minus_one

x, out = torch.tensor([1 + 2**-12]), torch.zeros(1)
square_minus_one[(1,)](x, out)
exact = (1 + 2**-12) ** 2 - 1
print("interpreter", out.item(), "one rounding", float(np.float32(exact)))
if not (out.item() == 2**-11 and float(np.float32(exact)) > 2**-11):
    sys.exit("changed: the interpreter's fma rounds once")
EOF
