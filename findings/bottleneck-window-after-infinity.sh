#!/usr/bin/env bash
# Bottleneck 1.6.0: after one infinity a moving mean is NaN to the end of the series.
#
# move_mean, move_sum, move_std and move_var keep a running total: the infinity is subtracted when
# it leaves the window, and inf - inf is NaN for good. A NaN that leaves the window is forgotten. A
# single large value does the same harm silently: the small ones after it are lost from the total.
# move_max and move_median are right, so are polars, pandas (for the large value) and duckdb.
#
# Seen with windows of two: 1, inf, 2, 3, 4 gives inf, inf, nan, nan (polars inf, inf, 2.5, 3.5);
# 1e17, 1, 1, 1 gives 5e16, 0, 0 (polars and pandas 5e16, 1, 1).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet bottleneck==1.6.0 pandas==3.1.1 polars==2.1.0 \
    numpy==2.4.6
cd "$work"
"$venv/bin/python" - <<'EOF'
import sys

import bottleneck as bn
import numpy as np
import pandas as pd
import polars as pl

nan, inf = np.nan, np.inf
infinite, missing = [1.0, inf, 2.0, 3.0, 4.0], [1.0, nan, 2.0, 3.0, 4.0]
large = [1e17, 1.0, 1.0, 1.0]


def text(values):
    return [f"{value:g}" for value in values][1:]


seen = {
    "after infinity": text(bn.move_mean(np.array(infinite), 2)),
    "after NaN": text(bn.move_mean(np.array(missing), 2)),
    "polars after infinity": text(pl.Series(infinite).rolling_mean(2).fill_null(0)),
    "after 1e17": text(bn.move_mean(np.array(large), 2)),
    "polars after 1e17": text(pl.Series(large).rolling_mean(2).fill_null(0)),
    "pandas after 1e17": text(pd.Series(large).rolling(2).mean()),
}
print(seen)
if list(seen.values()) != [
    ["inf", "inf", "nan", "nan"],
    ["nan", "nan", "2.5", "3.5"],
    ["inf", "inf", "2.5", "3.5"],
    ["5e+16", "0", "0"],
    ["5e+16", "1", "1"],
    ["5e+16", "1", "1"],
]:
    sys.exit("changed")
EOF
