#!/usr/bin/env bash
# torch 2.13.0, CPU: which checks a float8 tensor takes cannot be guessed from its neighbours.
#
# isnan works for every float8 format, isfinite and isinf for e5m2 only of these two. torch.equal
# of a tensor with itself takes a short cut that lacks float8 and raises; with an equal copy it
# works. allclose raises; torch.testing.assert_close works, bit for bit, and refuses any
# tolerance.
#
# Seen: the table below; "raises" is NotImplementedError (AssertionError for the tolerance).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet torch==2.13.0 numpy==2.4.6
cd "$work"
"$venv/bin/python" - <<'EOF'
import sys

import torch

close = torch.testing.assert_close
calls = {
    "isnan": torch.isnan,
    "isfinite": torch.isfinite,
    "isinf": torch.isinf,
    "==": lambda x: x == x,
    "<": lambda x: x < x,
    "equal itself": lambda x: torch.equal(x, x),
    "equal a copy": lambda x: torch.equal(x, x.clone()),
    "allclose": lambda x: torch.allclose(x, x),
    "assert_close": lambda x: close(x, x),
    "assert_close rtol": lambda x: close(x, x, rtol=0.1, atol=0.1),
    "matmul": lambda x: x @ x,
    "sum": torch.sum,
}
seen = {}
for name, call in calls.items():
    row = ""
    for dtype in (torch.float8_e4m3fn, torch.float8_e5m2):
        try:
            call(torch.ones(2, 2).to(dtype))
            row += " works"
        except (NotImplementedError, AssertionError):
            row += " raises"
    seen[name] = row.strip()
print(seen)
expected = {
    "isnan": "works works",
    "isfinite": "raises works",
    "isinf": "raises works",
    "==": "works works",
    "<": "raises raises",
    "equal itself": "raises raises",
    "equal a copy": "works works",
    "allclose": "raises raises",
    "assert_close": "works works",
    "assert_close rtol": "raises raises",
    "matmul": "works works",
    "sum": "raises raises",
}
if seen != expected:
    sys.exit(f"changed: {seen}")
EOF
