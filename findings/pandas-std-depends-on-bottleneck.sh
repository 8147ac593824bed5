#!/usr/bin/env bash
# pandas 3.1.1: the standard deviation of a float32 column changes when Bottleneck 1.6.0 happens to
# be installed.
#
# pandas uses Bottleneck by itself if it can be imported. Bottleneck adds float32 values one by one
# in float32, and its total stops growing; pandas' own code does not. std, var and sem of a column
# of 33 million equal values are 0 without the package and 0.03 with it, for a Series and for a
# frame. The mean is right with both. Float64 columns agree.
#
# Seen for 33,554,432 times 0.1: std 0.03125 and 0.0, mean 0.1 for both; float64 std below 1e-9 for
# both.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet pandas==3.1.1 bottleneck==1.6.0 numpy==2.4.6
cd "$work"
"$venv/bin/python" - <<'EOF'
import sys

import numpy as np
import pandas as pd

column = pd.Series(np.full(2**25, 0.1, np.float32))
seen = {}
for use in (True, False):
    pd.set_option("compute.use_bottleneck", use)  # True is the default
    frame = column.to_frame("a")
    figures = column.std(), frame.std()["a"], column.mean(), column.astype(float).std()
    seen["with" if use else "without"] = [round(float(figure), 5) for figure in figures]
print(seen)
if seen != {"with": [0.03125, 0.03125, 0.1, 0.0], "without": [0.0, 0.0, 0.1, 0.0]}:
    sys.exit(f"changed: {seen}")
EOF
