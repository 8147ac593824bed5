#!/usr/bin/env bash
# pyarrow 25.0.1 and pandas 3.1.1: a filter given to the reader returns fewer rows than the same
# filter afterwards.
#
# A Parquet file's statistics leave NaN out, and a reader with a filter skips the row groups that
# by their statistics cannot match. A NaN matches `!= 2` and the negation of `<= 5`, as it does in
# pandas and in a filter on the table in memory, but its row group is skipped where all numbers
# beside it do not match. Which rows are lost depends on what shares their row group.
#
# Seen for 2, NaN, 2: `!= 2` keeps 1 row in memory, 0 by read_parquet(filters=) of pandas and by a
# pyarrow dataset; in the file 2, NaN, 3 it keeps 2 by both. The negation of `<= 5` keeps 1 and 0.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet pyarrow==25.0.1 pandas==3.1.1 numpy==2.4.6
cd "$work"
"$venv/bin/python" - <<'EOF'
import sys

import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

x = ds.field("x")


def rows(values):
    table = pa.table({"x": values})
    pq.write_table(table, "f.parquet")
    dataset = ds.dataset("f.parquet")
    return [
        table.filter(x != 2).num_rows,
        int((pd.read_parquet("f.parquet").x != 2).sum()),
        dataset.to_table(filter=x != 2).num_rows,
        len(pd.read_parquet("f.parquet", filters=[("x", "!=", 2)])),
        table.filter(~(x <= 5)).num_rows,
        dataset.to_table(filter=~(x <= 5)).num_rows,
    ]


nan = float("nan")
seen = {"2, nan, 2": rows([2, nan, 2]), "2, nan, 3": rows([2, nan, 3])}
print(seen)
if list(seen.values()) != [[1, 1, 0, 0, 1, 0], [2, 2, 2, 2, 1, 0]]:
    sys.exit(f"changed: {seen}")
EOF
