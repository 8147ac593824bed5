#!/usr/bin/env bash
# torch 2.13.0: comparing a small integer tensor with a Python number out of its range.
#
# The number is converted to the tensor's dtype first and wraps there: 256 becomes 0, 300 becomes
# 44, -1 becomes 255. Nothing warns, although building a tensor of the same value raises. numpy 2
# compares with the number itself.
#
# Seen for torch: 0 == 256 True, 100 < 300 False, 100 > -1 False, 0 + 300 is 44, tensor([300])
# RuntimeError. For numpy: False, True, True.
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

zero = torch.zeros(1, dtype=torch.uint8)
array = np.zeros(1, dtype=np.uint8)
seen = {
    "0 == 256": ((zero == 256).item(), bool((array == 256)[0])),
    "100 < 300": ((zero + 100 < 300).item(), bool((array + 100 < 300)[0])),
    "100 > -1": ((zero + 100 > -1).item(), bool((array + 100 > -1)[0])),
    "0 + 300": (zero + 300).item(),
}
try:
    torch.tensor([300], dtype=torch.uint8)
    seen["tensor"] = "made"
except RuntimeError:
    seen["tensor"] = "RuntimeError"
print(seen)
expected = {
    "0 == 256": (True, False),
    "100 < 300": (False, True),
    "100 > -1": (False, True),
    "0 + 300": 44,
    "tensor": "RuntimeError",
}
if seen != expected:
    sys.exit(f"changed: {seen}")
EOF
