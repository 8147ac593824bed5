#!/usr/bin/env bash
# numpy 2.4.6 with ml_dtypes 0.6.0: the npy format has no name for these types.
#
# numpy.save writes an ml_dtypes array and raises nothing. load returns void bytes of the item's
# size, and view(dtype) restores the values if the reader knows the dtype from elsewhere. e5m2
# registers itself as a float, so its header says '<f1' and load raises ValueError.
#
# Seen: bfloat16 -> |V2, float8_e4m3fn -> |V1, float8_e5m2 -> ValueError.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet ml-dtypes==0.6.0 numpy==2.4.6
cd "$work"
"$venv/bin/python" - <<'EOF'
import io
import sys

import ml_dtypes
import numpy as np

seen = {}
for dtype in (ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2):
    buffer = io.BytesIO()
    np.save(buffer, np.ones(2, dtype=dtype))
    buffer.seek(0)
    try:
        seen[dtype.__name__] = np.load(buffer).dtype.str
    except ValueError:
        seen[dtype.__name__] = "ValueError"
print(seen)
expected = {"bfloat16": "|V2", "float8_e4m3fn": "|V1", "float8_e5m2": "ValueError"}
if seen != expected:
    sys.exit(f"changed: {seen}")
EOF
