#!/usr/bin/env bash
# numba 0.68.1 with numpy 2.4.6: the same np.mean of float32 is up to 38 % off once a function is
# compiled.
#
# numpy adds in pairs and keeps the error small. numba replaces np.sum, np.mean and np.std by one
# loop with a float32 total, which stops growing. Nothing in the code shows it, as the body of the
# function is the same. A copy of the array in float64 helps.
#
# Seen for equal values of 0.1: 4,194,304 of them mean 0.0960, 33,554,432 of them 0.0625 and std
# 0.0375; numpy 0.1000 and 1e-08.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet numba==0.68.1 numpy==2.4.6
cd "$work"
"$venv/bin/python" - <<'EOF'
import sys

import numba
import numpy as np


def statistics(x):
    return np.mean(x), np.std(x)


compiled = numba.njit(statistics)
seen = {}
for count in (2**22, 2**25):
    x = np.full(count, 0.1, np.float32)
    results = [*compiled(x), *statistics(x)]
    seen[count] = [round(float(value), 4) for value in results]
print("numba mean and std, numpy mean and std:", seen)
if seen != {2**22: [0.096, 0.004, 0.1, 0.0], 2**25: [0.0625, 0.0375, 0.1, 0.0]}:
    sys.exit("changed")
EOF
