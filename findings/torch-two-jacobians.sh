#!/usr/bin/env bash
# torch 2.13.0: jacfwd and jacrev of one function differ, NaN in one and a number in the other.
#
# They are documented as two ways to one matrix. At the edges of a function each applies its own
# rule: atan2(x, x) at 0 is NaN forwards and 0 backwards, logcumsumexp after a -inf the reverse,
# and an unused branch of torch.where poisons the gradient backwards only. In places where both are
# finite they differ as well: logcumsumexp is off by 1e-13 in float64 forwards.
#
# Seen: atan2 jacfwd nan, jacrev 0; logcumsumexp of (-inf, 0): 0 and nan in the first row,
# 0.9999999999999001 and 1.0 in the last; where(x > 0, sqrt(x), 0 * x) at 0: 0 and nan.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet torch==2.13.0 numpy==2.4.6
cd "$work"
"$venv/bin/python" - <<'EOF'
import math
import sys

import torch
from torch.func import jacfwd, jacrev

cases = {
    "atan2": (lambda x: torch.atan2(x, x), [0.0]),
    "where": (lambda x: torch.where(x > 0, torch.sqrt(x), 0 * x), [0.0]),
    "logcumsumexp": (lambda x: torch.logcumsumexp(x, 0), [-math.inf, 0.0]),
}
seen = {}
for name, (function, at) in cases.items():
    x = torch.tensor(at, dtype=torch.float64)
    seen[name] = [way(function)(x).diagonal().tolist() for way in (jacfwd, jacrev)]
print("(forwards, backwards):", seen)
forwards, backwards = seen["logcumsumexp"]
if (
    str([seen["atan2"], seen["where"]]) != "[[[nan], [0.0]], [[0.0], [nan]]]"
    or [str(forwards[0]), str(backwards[0])] != ["0.0", "nan"]
    or not 1e-14 < abs(forwards[1] - backwards[1]) < 1e-11
):
    sys.exit("changed")
EOF
