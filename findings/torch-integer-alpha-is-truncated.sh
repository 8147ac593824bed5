#!/usr/bin/env bash
# torch 2.13.0: a factor of 0.5 is an error for some operations on integers and 0 for others.
#
# add, sub, rsub and addr refuse a floating-point alpha for integer tensors. addmm, addmv, addbmm,
# baddbmm, index_add and addcmul (value=) take it, cut it to an integer, and leave the product out
# without a word; beta likewise. A product of int8 or int64 with a scale so is its bias alone.
#
# Seen for ones: four RuntimeErrors; addmm, addmv, addbmm, baddbmm, index_add, addcmul give 1.
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

one = torch.ones(1, 1, dtype=torch.int64)
row, stack, first = one[0], one[None], torch.tensor([0])
calls = {
    "add": lambda: torch.add(one, one, alpha=0.5),
    "sub": lambda: torch.sub(one, one, alpha=0.5),
    "rsub": lambda: torch.rsub(one, one, alpha=0.5),
    "addr": lambda: torch.addr(one, row, row, alpha=0.5),
    "addmm": lambda: torch.addmm(one, one, one, alpha=0.5),
    "addmv": lambda: torch.addmv(row, one, row, alpha=0.5),
    "addbmm": lambda: torch.addbmm(one, stack, stack, alpha=0.5),
    "baddbmm": lambda: torch.baddbmm(stack, stack, stack, alpha=0.5),
    "index_add": lambda: torch.index_add(one, 0, first, one, alpha=0.5),
    "addcmul": lambda: torch.addcmul(one, one, one, value=0.5),
}
seen = {}
for name, call in calls.items():
    try:
        seen[name] = call().item()
    except RuntimeError:
        seen[name] = "RuntimeError"
print(seen)
refused = [name for name, value in seen.items() if value == "RuntimeError"]
taken = [name for name, value in seen.items() if value == 1]
if refused != ["add", "sub", "rsub", "addr"] or len(taken) != 6:
    sys.exit(f"changed: {seen}")
EOF
