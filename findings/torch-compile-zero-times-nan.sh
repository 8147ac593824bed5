#!/usr/bin/env bash
# torch 2.13.0, Inductor on a CPU (needs g++): an integer zero as factor erases what it
# multiplies.
#
# A product with the Python integer 0 is replaced by zeros when compiled, for float tensors too.
# NaN and infinity disappear and -1 * 0 loses its sign, so a guard such as "loss + 0 * unused" no
# longer shows a broken value. With the factor 0.0 nothing is replaced.
#
# Seen for [nan, inf]: x * 0 eager nan, nan and compiled 0, 0; x * 0.0 nan, nan for both.
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

x = torch.tensor([torch.nan, torch.inf] * 10)
seen = {}
for factor in (0, 0.0):
    torch._dynamo.reset()

    def multiply(value, factor=factor):
        return value * factor

    compiled = torch.compile(multiply)
    seen[repr(factor)] = (str(multiply(x)[:2].tolist()), str(compiled(x)[:2].tolist()))
print("(eager, compiled):", seen)
expected = {"0": ("[nan, nan]", "[0.0, 0.0]"), "0.0": ("[nan, nan]", "[nan, nan]")}
if seen != expected:
    sys.exit(f"changed: {seen}")
EOF
