#!/usr/bin/env bash
# ml_dtypes 0.6.0: the formats without NaN turn a NaN into a harmless zero.
#
# float4_e2m1fn, float6_e2m3fn and float6_e3m2fn have neither NaN nor infinity. A cast raises
# nothing and warns of nothing: NaN becomes zero, infinity and overflow the largest finite value.
# A quantised tensor therefore hides a broken input that float8 would still show.
#
# Seen: float4 nan -> 0 and inf -> 6; float6_e2m3fn 0 and 7.5; float6_e3m2fn 0 and 28.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet ml-dtypes==0.6.0 numpy==2.4.6
cd "$work"
"$venv/bin/python" - <<'EOF'
import sys
import warnings

import ml_dtypes
import numpy as np

warnings.simplefilter("error")
seen = {}
for dtype in (ml_dtypes.float4_e2m1fn, ml_dtypes.float6_e2m3fn, ml_dtypes.float6_e3m2fn):
    cast = np.array([np.nan, np.inf], dtype=np.float32).astype(dtype)
    seen[dtype.__name__] = (abs(float(cast[0])), float(cast[1]))
print(seen)
expected = {
    "float4_e2m1fn": (0.0, 6.0),
    "float6_e2m3fn": (0.0, 7.5),
    "float6_e3m2fn": (0.0, 28.0),
}
if seen != expected:
    sys.exit(f"changed: {seen}")
EOF
