#!/usr/bin/env bash
# pandas 3.1.1: rolling, expanding and ewm treat an infinity as a missing value.
#
# A failed run is often entered as infinity, so that no minimum picks it. Window functions turn it
# into NaN first: a rolling maximum over it is NaN, an expanding maximum forgets it and goes on
# with the finite values, though expanding().count counts it. Series.max, cummax and mean keep it.
#
# Seen for [1, inf, 2, 3]: rolling(2).max nan, nan, nan, 3; expanding().max 1, 1, 2, 3; ewm 1, 1,
# 1.8, 2.538; cummax 1, inf, inf, inf.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet pandas==3.1.1 numpy==2.4.6
cd "$work"
"$venv/bin/python" - <<'EOF'
import sys

import pandas as pd

series = pd.Series([1.0, float("inf"), 2.0, 3.0])
seen = {
    "rolling": series.rolling(2).max(),
    "expanding": series.expanding().max(),
    "count": series.expanding().count(),
    "ewm": series.ewm(alpha=0.5).mean(),
    "cummax": series.cummax(),
}
seen = {name: [str(round(value, 3)) for value in result] for name, result in seen.items()}
print(seen)
expected = {
    "rolling": ["nan", "nan", "nan", "3.0"],
    "expanding": ["1.0", "1.0", "2.0", "3.0"],
    "count": ["1.0", "2.0", "3.0", "4.0"],
    "cummax": ["1.0", "inf", "inf", "inf"],
}
if any(seen[name] != values for name, values in expected.items()) or "inf" in seen["ewm"]:
    sys.exit(f"changed: {seen}")
EOF
