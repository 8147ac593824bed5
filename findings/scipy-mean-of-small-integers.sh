#!/usr/bin/env bash
# scipy 1.17.1 with numpy 2.4.6: the geometric mean of uint8 and int8 numbers is computed in
# float16.
#
# numpy takes the logarithm of an 8-bit integer as a float16, and of a 16-bit one as float32, and
# scipy.stats.gmean goes on in it: three digits are left, where the mean, hmean and pmean of the
# same array are float64. The geometric mean of equal numbers is then not that number, and counts
# of up to 255 repetitions or tiles get a wrong average without a warning.
#
# Seen for 200, 200: uint8 199.75 (float16), uint16 200.0 (float32), int64 200.0 (float64); hmean
# and pmean of uint8 200.0.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet scipy==1.17.1 numpy==2.4.6
cd "$work"
"$venv/bin/python" - <<'EOF'
import sys

import numpy as np
from scipy import stats

seen = {}
for dtype in (np.uint8, np.uint16, np.int64):
    mean = stats.gmean(np.array([200, 200], dtype))
    seen[dtype.__name__] = [mean.dtype.name, round(float(mean), 5)]
numbers = np.uint8([200, 200])
seen["hmean"] = [stats.hmean(numbers).dtype.name, round(float(stats.hmean(numbers)), 5)]
print(seen)
expected = [["float16", 199.75], ["float32", 200.0], ["float64", 200.0], ["float64", 200.0]]
if list(seen.values()) != expected:
    sys.exit("changed")
EOF
