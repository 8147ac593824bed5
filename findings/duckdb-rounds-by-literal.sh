#!/usr/bin/env bash
# duckdb 2.0.1: CAST(2.5 AS INTEGER) is 3, and 2 for the same number in a column of doubles.
#
# A number with a point in a query is a DECIMAL, not a DOUBLE. A cast to an integer rounds a
# DECIMAL's half away from zero and a DOUBLE's half to even; round() of a double is away from zero
# again. 0.1 + 0.2 = 0.3 is true for literals and false for columns. So an expression tried out
# with literals computes something else over data.
#
# Seen: literal 2.5 -> 3, double 2.5 -> 2, round(double 2.5) 3; 0.1 + 0.2 = 0.3 true, as doubles
# false; typeof(1.5) DECIMAL(2,1), typeof(1.5e0) DOUBLE.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet duckdb==2.0.1
cd "$work"
"$venv/bin/python" - <<'EOF'
import sys

import duckdb

duckdb.sql("create table t as select 2.5::double x, 0.1::double a, 0.2::double b, 0.3::double c")
seen = duckdb.sql(
    "select cast(2.5 as int), cast(x as int), round(x), 0.1 + 0.2 = 0.3, a + b = c,"
    " typeof(1.5), typeof(1.5e0) from t"
).fetchall()[0]
print(seen)
if seen != (3, 2, 3.0, True, False, "DECIMAL(2,1)", "DOUBLE"):
    sys.exit("changed")
EOF
