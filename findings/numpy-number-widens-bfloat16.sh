#!/usr/bin/env bash
# numpy 2.4.6 with ml_dtypes 0.6.0: a Python number widens a bfloat16 array, by another amount in
# each function.
#
# For numpy's own types a Python number adapts to the array (float16 * 2.0 is float16). A bfloat16
# array becomes float32 when multiplied by 2.0, float64 in numpy.where, and float64 beside an int32
# array. A reference written so computes in higher precision than the kernel it judges; torch stays
# in bfloat16.
#
# Seen: x * 2.0 float32 (float16: float16), clip(x, 0, 1) float32, where(c, x, 0.0) float64, x +
# int32 float64, torch bfloat16.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet ml-dtypes==0.6.0 numpy==2.4.6 torch==2.13.0
cd "$work"
"$venv/bin/python" - <<'EOF'
import sys

import ml_dtypes
import numpy as np
import torch


def look(dtype):
    x, number = np.ones(2, dtype), np.ones(2, np.int32)
    results = (x * 2.0, np.clip(x, 0, 1), np.where([True, False], x, 0.0), x + number)
    return [str(result.dtype) for result in results]


seen = {"bfloat16": look(ml_dtypes.bfloat16), "float16": look(np.float16)}
x, number = torch.ones(2, dtype=torch.bfloat16), torch.ones(2, dtype=torch.int32)
results = (x * 2.0, x.clip(0, 1), torch.where(x > 0, x, 0.0), x + number)
seen["torch"] = [str(result.dtype).removeprefix("torch.") for result in results]
print("x * 2.0, clip, where, + int32:", seen)
expected = {
    "bfloat16": ["float32", "float32", "float64", "float64"],
    "float16": ["float16", "float16", "float16", "float64"],
    "torch": ["bfloat16"] * 4,
}
if seen != expected:
    sys.exit(f"changed: {seen}")
EOF
