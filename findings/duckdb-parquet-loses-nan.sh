#!/usr/bin/env bash
# duckdb 2.0.1: in a Parquet file of pyarrow or polars isnan() is false for the rows that hold NaN.
#
# The Parquet format leaves NaN out of a column's statistics. duckdb takes the maximum that it
# reads there for a limit on all values and answers a comparison above it, and isnan itself, from
# that limit: in WHERE, and in a selected column beside the NaN. `x > 2`, which the limit does not
# decide, returns the NaN. The same rows in a table, or in a file that duckdb wrote, are found. So
# a count of failed rows is 0 until the data are loaded.
#
# Seen for 1, NaN, 3: SELECT x, isnan(x), x > 5 returns (nan, False, False) from the files and
# (nan, True, True) from a table; WHERE isnan(x) finds 0 rows and 1, WHERE x > 2 finds nan and 3
# everywhere.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet duckdb==2.0.1 pyarrow==25.0.1 polars==2.1.0
cd "$work"
"$venv/bin/python" - <<'EOF'
import sys

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

values = {"x": [1.0, float("nan"), 3.0]}
pq.write_table(pa.table(values), "pyarrow.parquet")
pl.DataFrame(values).write_parquet("polars.parquet")
duckdb.sql("create table memory as from 'pyarrow.parquet'")
duckdb.sql("copy memory to 'duckdb.parquet'")


def seen_in(source):
    def rows(what):
        return str(duckdb.sql(what.format(source)).fetchall())

    return [
        rows("select x, isnan(x), x > 5 from {} where x > 2 and x != 3"),
        rows("select count(*) from {} where isnan(x)"),
        rows("select x from {} where x > 2"),
    ]


seen = {
    name: seen_in(name if name == "memory" else f"'{name}.parquet'")
    for name in ("pyarrow", "polars", "duckdb", "memory")
}
for name, results in seen.items():
    print(name, results)
lost = ["[(nan, False, False)]", "[(0,)]", "[(nan,), (3.0,)]"]
found = ["[(nan, True, True)]", "[(1,)]", "[(nan,), (3.0,)]"]
if list(seen.values()) != [lost, lost, found, found]:
    sys.exit("changed")
EOF
