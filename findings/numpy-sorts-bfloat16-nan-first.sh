#!/usr/bin/env bash
# numpy 2.4.6 with ml_dtypes 0.6.0: where a NaN goes when sorted depends on the type.
#
# numpy documents that NaN sorts to the end. For bfloat16 and float8 the generic comparison is
# used and a NaN lands at the front, so sorted[0] is not the smallest number and searchsorted
# fails.
#
# Seen: float16 [-1, 1, nan]; bfloat16 [nan, -1, 1] for the input [nan, 1, -1].
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

seen = {}
for dtype in (np.float16, ml_dtypes.bfloat16, ml_dtypes.float8_e5m2):
    ordered = np.sort(np.array([np.nan, 1, -1], dtype=dtype))
    seen[dtype.__name__] = str(ordered.astype(np.float32).tolist())
print(seen)
expected = {
    "float16": "[-1.0, 1.0, nan]",
    "bfloat16": "[nan, -1.0, 1.0]",
    "float8_e5m2": "[nan, -1.0, 1.0]",
}
if seen != expected:
    sys.exit(f"changed: {seen}")
EOF
