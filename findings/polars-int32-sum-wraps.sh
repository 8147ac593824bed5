#!/usr/bin/env bash
# polars 2.1.0: the sum of an Int32 or UInt32 column wraps, while Int8 and Int16 are widened.
#
# sum converts 8 and 16 bits to Int64 so as not to overflow and leaves 32 bits as they are, in a
# group_by as well; nothing warns. mean of the same column is right. A column of nanoseconds in 32
# bits overflows after 2.1 s, and numpy, pandas and pyarrow sum it in 64 bits.
#
# Seen for [2147483647, 1]: sum -2147483648, in group_by too, mean 1073741824; UInt32 [4294967295,
# 1] sums to 0; Int16 [30000, 30000] to 60000; numpy 2147483648.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet polars==2.1.0 numpy==2.4.6
cd "$work"
"$venv/bin/python" - <<'EOF'
import sys

import numpy as np
import polars as pl

values = [2**31 - 1, 1]
column = pl.Series("v", values, dtype=pl.Int32)
frame = pl.DataFrame({"k": [0, 0], "v": column})
seen = {
    "Int32": column.sum(),
    "group_by": frame.group_by("k").agg(pl.col("v").sum())["v"][0],
    "mean": column.mean(),
    "UInt32": pl.Series([2**32 - 1, 1], dtype=pl.UInt32).sum(),
    "Int16": pl.Series([30000, 30000], dtype=pl.Int16).sum(),
    "numpy": int(np.array(values, np.int32).sum()),
}
print(seen)
if list(seen.values()) != [-(2**31), -(2**31), 2.0**30, 0, 60000, 2**31]:
    sys.exit(f"changed: {seen}")
EOF
