#!/usr/bin/env bash
# pyarrow 25.0.1: each function has its own idea of NaN and of the two zeros.
#
# min_max leaves NaN out as if it were null (and the Parquet statistics follow), sum and mean
# return NaN. unique compares bits: one NaN, two zeros. equals compares values: NaN differs from
# itself, the zeros are equal. So two arrays with the same unique values may differ, and the
# reverse.
#
# Seen for [1, nan, 2]: min_max 1 and 2, sum nan. [nan, nan, -0.0, 0.0] has 3 unique values.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet pyarrow==25.0.1
cd "$work"
"$venv/bin/python" - <<'EOF'
import sys

import pyarrow as pa
import pyarrow.compute as pc

nan = float("nan")
values = pa.array([1.0, nan, 2.0])
seen = {
    "min_max": list(pc.min_max(values).as_py().values()),
    "sum": str(pc.sum(values).as_py()),
    "unique": len(pc.unique(pa.array([nan, nan, -0.0, 0.0]))),
    "equals nan": pa.array([nan]).equals(pa.array([nan])),
    "equals zero": pa.array([-0.0]).equals(pa.array([0.0])),
}
print(seen)
expected = {
    "min_max": [1.0, 2.0],
    "sum": "nan",
    "unique": 3,
    "equals nan": False,
    "equals zero": True,
}
if seen != expected:
    sys.exit(f"changed: {seen}")
EOF
