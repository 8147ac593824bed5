#!/usr/bin/env bash
# pandas 3.1.1: DataFrame.query returns other rows when numexpr 2.14.2 happens to be installed.
#
# eval and query use numexpr by themselves if it can be imported. It computes small integers in
# int32, Python's engine in their own type with wrap-around. The result's dtype differs too.
# Installing a package that asks for numexpr changes an analysis whose code and data did not
# change.
#
# Seen: uint8 200 + 200 is 400 (int32) and 144 (uint8), so query('u + u > 300') returns 1 row or 0;
# ~ of int8 is int64 or int8.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet pandas==3.1.1 numexpr==2.14.2 numpy==2.4.6
cd "$work"
"$venv/bin/python" - <<'EOF'
import sys

import numpy as np
import pandas as pd

frame = pd.DataFrame({"u": np.uint8([200]), "i": np.int8([100])})


def look(**options):
    total, inverse = frame.eval("u + u", **options), frame.eval("~i", **options)
    rows = len(frame.query("u + u > 300", **options))
    return int(total.iloc[0]), str(total.dtype), str(inverse.dtype), rows


default, without = look(), look(engine="python")
print("numexpr installed:", default, "engine python:", without)
if default != (400, "int32", "int64", 1) or without != (144, "uint8", "int8", 0):
    sys.exit("changed")
EOF
