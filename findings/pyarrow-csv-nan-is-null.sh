#!/usr/bin/env bash
# pyarrow 25.0.1: its CSV writer and reader disagree on "nan".
#
# The writer prints nan, inf and an empty field for a null. The reader's default null_values hold
# "nan" and "NaN" (and "NA", "null" and others), so NaN and null are one after a round trip, and
# counts, means and dropna-like filters change. In a column of strings the text "nan" survives.
#
# Seen: [nan, inf, 1.5] comes back as [None, inf, 1.5]; with null_values=[""] NaN survives.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet pyarrow==25.0.1
cd "$work"
"$venv/bin/python" - <<'EOF'
import io
import sys

import pyarrow as pa
import pyarrow.csv as csv

buffer = io.BytesIO()
csv.write_csv(pa.table({"x": [float("nan"), float("inf"), 1.5]}), buffer)


def read(**options):
    convert = csv.ConvertOptions(**options)
    table = csv.read_csv(io.BytesIO(buffer.getvalue()), convert_options=convert)
    return str(table["x"].to_pylist())


seen = [buffer.getvalue().decode().split()[1], read(), read(null_values=[""])]
print(seen)
if seen != ["nan", "[None, inf, 1.5]", "[nan, inf, 1.5]"]:
    sys.exit(f"changed: {seen}")
EOF
