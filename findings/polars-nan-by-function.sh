#!/usr/bin/env bash
# polars 2.1.0: which number is the largest beside a NaN depends on how one asks.
#
# max, max_horizontal, cum_max and max in a group leave NaN out. top_k, quantile(1.0), rolling_max
# and the last value of a sort say NaN, median counts it as largest, and a filter `x > 5` keeps it.
# So the maximum, the first of the top k and the 100 % quantile of one column are three calls and
# two results, none with a warning.
#
# Seen for 1, NaN, 3: max 3, in a group 3, cum_max 3, arg_max 2; top_k(1) nan, quantile(1.0) nan,
# sort nan, rolling_max nan, median 3; x > 5 keeps one row.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet polars==2.1.0
cd "$work"
"$venv/bin/python" - <<'EOF'
import sys

import polars as pl

column = pl.Series("x", [1.0, float("nan"), 3.0])
frame = pl.DataFrame({"g": [0, 0, 0], "x": column})
seen = {
    "max": column.max(),
    "group": frame.group_by("g").agg(pl.col("x").max())["x"][0],
    "cum_max": column.cum_max()[2],
    "arg_max": column.arg_max(),
    "top_k": column.top_k(1)[0],
    "quantile": column.quantile(1.0),
    "sort": column.sort()[2],
    "rolling_max": column.rolling_max(3)[2],
    "median": column.median(),
    "above 5": int((column > 5).sum()),
}
print(seen)
if str(list(seen.values())) != "[3.0, 3.0, 3.0, 2, nan, nan, nan, nan, 3.0, 1]":
    sys.exit(f"changed: {seen}")
EOF
