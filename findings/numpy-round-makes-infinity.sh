#!/usr/bin/env bash
# numpy 2.4.6: rounding a finite number can give infinity, or NaN.
#
# numpy.round multiplies by a power of ten, rounds and divides, all in the dtype. The product
# overflows: in float16 for 12.5 with four decimals already. pandas inherits it; Python's round and
# polars return the number. A table that rounds its cells shows an infinity that nobody measured.
#
# Seen: round(float16 12.5, 4) inf, round(float32 1e38, 3) inf, round(1e300, 10) inf, round(1.5,
# 400) nan; pandas inf; polars and Python 1e300.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet numpy==2.4.6 pandas==3.1.1 polars==2.1.0
cd "$work"
"$venv/bin/python" - <<'EOF'
import sys
import warnings

import numpy as np
import pandas as pd
import polars as pl

warnings.simplefilter("ignore")
seen = {
    "float16": np.round(np.float16(12.5), 4),
    "float32": np.round(np.float32(1e38), 3),
    "float64": np.round(np.float64(1e300), 10),
    "400 decimals": np.round(np.float64(1.5), 400),
    "pandas": pd.Series([1e300]).round(10)[0],
    "polars": pl.Series([1e300]).round(10)[0],
    "Python": round(1e300, 10),
}
seen = {name: str(float(value)) for name, value in seen.items()}
print(seen)
if list(seen.values()) != ["inf", "inf", "inf", "nan", "inf", "1e+300", "1e+300"]:
    sys.exit(f"changed: {seen}")
EOF
