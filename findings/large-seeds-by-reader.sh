#!/usr/bin/env bash
# pyarrow 25.0.1, pandas 3.1.1, polars 2.1.0, duckdb 2.0.1, orjson 3.13.0: a 64-bit seed above
# 2**63 changes its value or its type with the reader.
#
# Half of all unsigned 64-bit hashes and seeds are above 2**63. From JSON and CSV pyarrow returns
# the nearest float64, so does pandas with its pyarrow engine, and two seeds become one. pandas'
# own reader gives uint64, and strings as soon as a negative number is in the column; polars and
# duckdb give 128-bit integers. orjson keeps 64 bits and turns what is longer into a float, where
# the json module keeps every digit.
#
# Seen for 9223372036854775809: pyarrow JSON and CSV 9223372036854775808.0, pandas uint64, pandas
# beside -5 the text, polars and duckdb exact; 2**64 + 1 by orjson 1.8446744073709552e19.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet pyarrow==25.0.1 pandas==3.1.1 polars==2.1.0 \
    duckdb==2.0.1 orjson==3.13.0 numpy==2.4.6
cd "$work"
"$venv/bin/python" - <<'EOF'
import json
import sys
from pathlib import Path

import duckdb
import orjson
import pandas as pd
import polars as pl
import pyarrow.csv
import pyarrow.json

seed = 2**63 + 1
Path("s.json").write_text(json.dumps({"s": seed}))
Path("s.csv").write_text(f"s\n{seed}\n")
Path("mixed.csv").write_text(f"s\n{seed}\n-5\n")
seen = {
    "pyarrow json": pyarrow.json.read_json("s.json")["s"][0].as_py(),
    "pyarrow csv": pyarrow.csv.read_csv("s.csv")["s"][0].as_py(),
    "pandas pyarrow": float(pd.read_json("s.json", lines=True, engine="pyarrow").s[0]),
    "pandas": int(pd.read_json("s.json", lines=True).s[0]),
    "pandas csv": int(pd.read_csv("s.csv").s[0]),
    "pandas mixed": pd.read_csv("mixed.csv").s[0],
    "polars": pl.read_csv("mixed.csv")["s"][0],
    "duckdb": duckdb.sql("select s from read_csv('mixed.csv') where s > 0").fetchall()[0][0],
    "orjson": orjson.loads(str(2**64 + 1)),
    "json": json.loads(str(2**64 + 1)),
}
print(seen)
expected = [2.0**63] * 3 + [seed] * 2 + [str(seed)] + [seed] * 2 + [2.0**64, 2**64 + 1]
if str(list(seen.values())) != str(expected):
    sys.exit("changed")
EOF
