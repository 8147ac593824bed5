#!/usr/bin/env bash
# pyarrow 25.0.1: what write_table accepts read_table need not.
#
# A join or a concatenation gives a table with a repeated column name. write_table stores both
# columns; read_table raises ArrowInvalid ("Multiple matches for FieldRef"). The data are there:
# ParquetFile(...).read() returns them.
#
# Seen: read_table ArrowInvalid, ParquetFile.read both columns.
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
import pyarrow.parquet as parquet

columns = [pa.array([1]), pa.array([2])]
parquet.write_table(pa.Table.from_arrays(columns, names=["a", "a"]), "a.parquet")
try:
    parquet.read_table("a.parquet")
    seen = "read"
except pa.ArrowInvalid:
    seen = "ArrowInvalid"
names = parquet.ParquetFile("a.parquet").read().column_names
print(seen, names)
if (seen, names) != ("ArrowInvalid", ["a", "a"]):
    sys.exit("changed")
EOF
