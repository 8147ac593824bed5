#!/usr/bin/env bash
# torch 2.13.0, CPU: a float64 reference cast to a half type can be the wrong neighbour.
#
# A number just above the middle of two float16 values must go up. torch first rounds it to
# float32, where it becomes the exact middle, and then to even, down. torch.tensor(x, dtype=...)
# does the same. numpy's cast rounds once. The difference is one unit in the last place.
#
# Seen: 1 + 2**-11 + 2**-40 is 1.0 in torch.float16 and 1.0009765625 in numpy.float16; likewise
# bfloat16 and float8_e4m3fn give 1.0 for 1 + 2**-8 + 2**-40 and 1 + 2**-4 + 2**-40.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet torch==2.13.0 numpy==2.4.6
cd "$work"
"$venv/bin/python" - <<'EOF'
import sys

import numpy as np
import torch

value = 1 + 2**-11 + 2**-40
double = torch.tensor(value, dtype=torch.float64)
seen = {
    "numpy": float(np.float16(value)),
    "to": double.half().item(),
    "tensor": torch.tensor(value, dtype=torch.float16).item(),
}
for dtype, bits in ((torch.bfloat16, 8), (torch.float8_e4m3fn, 4)):
    tie = torch.tensor(1 + 2**-bits + 2**-40, dtype=torch.float64)
    above = torch.tensor(1 + 2**-bits + 2**-20, dtype=torch.float32)
    seen[str(dtype)] = (tie.to(dtype).double().item(), above.to(dtype).double().item())
print(seen)
expected = {
    "numpy": 1 + 2**-10,
    "to": 1.0,
    "tensor": 1.0,
    "torch.bfloat16": (1.0, 1 + 2**-7),
    "torch.float8_e4m3fn": (1.0, 1.125),
}
if seen != expected:
    sys.exit(f"changed: {seen}")
EOF
