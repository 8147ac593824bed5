#!/usr/bin/env bash
# duckdb 2.0.1: one query over the same numbers skips a NaN or returns it, by the library that made
# the table.
#
# A NaN in a pandas column or a numpy array is read as NULL and left out of count, avg and max.
# From polars, pyarrow or a Parquet file of polars it stays NaN, which is larger than every number:
# it passes every lower limit and is the maximum. So a change of the frame library changes the
# report.
#
# Seen for [1, nan, 3]: pandas and numpy count 2, avg 2, one value above 2; polars and pyarrow
# count 3, avg nan, two values above 2.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet duckdb==2.0.1 pandas==3.1.1 polars==2.1.0 \
    pyarrow==26.0.1 numpy==2.4.6
cd "$work"
"$venv/bin/python" - <<'EOF'
import sys

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa

numbers = [1.0, float("nan"), 3.0]
tables = {
    "pandas": pd.DataFrame({"v": numbers}),
    "numpy": {"v": np.array(numbers)},
    "polars": pl.DataFrame({"v": numbers}),
    "pyarrow": pa.table({"v": numbers}),
}


def ask(data):
    query = "select count(v), avg(v), max(v), count(*) filter (where v > 2) from data"
    return [str(value) for value in duckdb.sql(query).fetchall()[0]]


seen = {name: ask(table) for name, table in tables.items()}
print(seen)
skipped, kept = ["2", "2.0", "3.0", "1"], ["3", "nan", "nan", "2"]
if list(seen.values()) != [skipped, skipped, kept, kept]:
    sys.exit(f"changed: {seen}")
EOF
