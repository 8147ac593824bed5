#!/usr/bin/env bash
# torch 2.13.0 with ml_dtypes 0.6.0: the scale format e8m0 loses signs and zeros without a word.
#
# float8_e8m0fnu holds powers of two only. torch drops the sign of a negative number and turns
# zero into the smallest power; a tensor made by torch.zeros is not zero. ml_dtypes turns all of
# them into NaN, so that a scale computed wrongly is seen there and used here.
#
# Seen: torch -1 -> 1, 0 -> 2**-127, zeros() -> 2**-127, and F.pad with zeros raises; ml_dtypes
# nan, nan.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet torch==2.13.0 numpy==2.4.6 ml-dtypes==0.6.0
cd "$work"
"$venv/bin/python" - <<'EOF'
import sys

import ml_dtypes
import numpy as np
import torch

values = np.array([-1.0, 0.0, 448.0], dtype=np.float32)
seen = {
    "torch": torch.from_numpy(values).to(torch.float8_e8m0fnu).float().tolist(),
    "zeros": torch.zeros(1, dtype=torch.float8_e8m0fnu).float().tolist(),
    "ml_dtypes": str(values.astype(ml_dtypes.float8_e8m0fnu).astype(np.float32).tolist()),
}
try:
    torch.nn.functional.pad(torch.ones(2).to(torch.float8_e8m0fnu), (1, 1))
    seen["pad"] = "padded"
except RuntimeError:
    seen["pad"] = "RuntimeError"
print(seen)
expected = {
    "torch": [1.0, 2.0**-127, 512.0],
    "zeros": [2.0**-127],
    "ml_dtypes": "[nan, nan, 512.0]",
    "pad": "RuntimeError",
}
if seen != expected:
    sys.exit(f"changed: {seen}")
EOF
