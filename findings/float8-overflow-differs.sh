#!/usr/bin/env bash
# torch 2.13.0 with ml_dtypes 0.6.0: one overflow, three results, and two libraries that differ.
#
# A cast of a float32 above the largest float8 value follows no common rule: torch saturates
# e4m3fn, gives infinity for e5m2 and NaN for both fnuz formats. ml_dtypes gives NaN for e4m3fn.
# Infinity itself becomes 448 in torch's e4m3fn, so an overflow upstream leaves no trace.
#
# Seen for 1e6: torch 448, inf, nan, nan; ml_dtypes nan, inf, nan, nan. For inf: the same. Finite
# values in range agree bit for bit (100,000 normal ones times 8).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet torch==2.13.0 numpy==2.4.6 ml-dtypes==0.6.0
cd "$work"
"$venv/bin/python" - <<'EOF'
import sys

import ml_dtypes
import numpy as np
import torch

names = ["float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz"]
values = np.array([1e6, np.inf], dtype=np.float32)
normal = np.random.default_rng(0).standard_normal(100_000).astype(np.float32) * 8
seen = {}
agree = True
for name in names:
    ours, theirs = getattr(torch, name), getattr(ml_dtypes, name)
    by_torch = torch.from_numpy(values).to(ours).float().tolist()
    by_ml_dtypes = values.astype(theirs).astype(np.float32).tolist()
    seen[name] = (str(by_torch), str(by_ml_dtypes))
    bits = torch.from_numpy(normal).to(ours).view(torch.uint8).numpy()
    agree = agree and bool((bits == normal.astype(theirs).view(np.uint8)).all())
print(seen, "in range the same:", agree)
expected = {
    "float8_e4m3fn": ("[448.0, 448.0]", "[nan, nan]"),
    "float8_e5m2": ("[inf, inf]", "[inf, inf]"),
    "float8_e4m3fnuz": ("[nan, nan]", "[nan, nan]"),
    "float8_e5m2fnuz": ("[nan, nan]", "[nan, nan]"),
}
if seen != expected or not agree:
    sys.exit(f"changed: {seen}")
EOF
