#!/usr/bin/env bash
# numpy 2.4.6 with ml_dtypes 0.6.0: mean, sum and var of bfloat16 are far off without a warning.
#
# numpy.mean widens float16 to float32 for the sum, because it knows that type. An ml_dtypes type
# is summed in its own precision, so the sum sticks after 8 bits and is then divided by the full
# count. float8 is worse. dtype=np.float32 mends all of them; matmul is right as it is.
#
# Seen: mean of 1,000 threes 1.0234375, of 10,000 threes 0.1025390625, sum of 1,000 ones 256,
# float8_e4m3fn sum of 1,000 ones 16, float16 mean 3.0, mean with dtype=np.float32 3.0.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet ml-dtypes==0.6.0 numpy==2.4.6
cd "$work"
"$venv/bin/python" - <<'EOF'
import sys

import ml_dtypes
import numpy as np

bfloat16 = ml_dtypes.bfloat16
threes = np.full(1000, 3, dtype=bfloat16)
ones = np.ones(1000, dtype=bfloat16)
seen = {
    "mean 1000": float(threes.mean()),
    "mean 10000": float(np.full(10_000, 3, dtype=bfloat16).mean()),
    "sum": float(ones.sum()),
    "float8 sum": float(ones.astype(ml_dtypes.float8_e4m3fn).sum()),
    "dot": float(ones @ ones),
    "float16 mean": float(np.full(1000, 3, dtype=np.float16).mean()),
    "wide mean": float(threes.mean(dtype=np.float32)),
}
print(seen)
expected = {
    "mean 1000": 1.0234375,
    "mean 10000": 0.1025390625,
    "sum": 256.0,
    "float8 sum": 16.0,
    "dot": 1000.0,
    "float16 mean": 3.0,
    "wide mean": 3.0,
}
if seen != expected:
    sys.exit(f"changed: {seen}")
EOF
