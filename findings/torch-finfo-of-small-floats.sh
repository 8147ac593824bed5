#!/usr/bin/env bash
# torch 2.13.0: finfo is wrong for one float8 format and unusable for float4.
#
# e5m2fnuz has two bits of mantissa: the value after 1.0 is 1.25, so eps is 0.25 as for e5m2, and
# finfo says 0.125. finfo(float4_e2m1fn_x2) is accepted, then each field raises
# NotImplementedError and repr() raises TypeError ("bad argument type for built-in operation").
#
# Seen: eps 0.125 for a spacing of 0.25; the other three float8 formats are right.
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

seen = {}
for name in ("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz"):
    dtype = getattr(torch, name)
    one = torch.ones(1).to(dtype)
    after = (one.view(torch.uint8) + 1).view(dtype).float().item()
    seen[name] = (torch.finfo(dtype).eps, after - 1)
info = torch.finfo(torch.float4_e2m1fn_x2)
for label, call in (("max", lambda: info.max), ("repr", lambda: repr(info))):
    try:
        seen[label] = call()
    except Exception as error:
        seen[label] = type(error).__name__
print(seen)
expected = {
    "float8_e4m3fn": (0.125, 0.125),
    "float8_e5m2": (0.25, 0.25),
    "float8_e4m3fnuz": (0.125, 0.125),
    "float8_e5m2fnuz": (0.125, 0.25),
    "max": "NotImplementedError",
    "repr": "TypeError",
}
if seen != expected:
    sys.exit(f"changed: {seen}")
EOF
