#!/usr/bin/env bash
# torch 2.13.0, CPU: whether the strides of test_elements matter depends on their number.
#
# For few test elements torch.isin compares one by one and takes view(-1) of them, which raises
# RuntimeError ("view size is not compatible") when they are not contiguous. For more it sorts,
# and any strides will do. The first argument may have any strides.
#
# Seen: 9 transposed elements RuntimeError, 64 and 900 work; x[:, ::2] of 3 x 3 RuntimeError.
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


def call(elements, tests):
    try:
        return int(torch.isin(elements, tests).sum())
    except RuntimeError:
        return "RuntimeError"


small, large = torch.arange(9.0).reshape(3, 3), torch.arange(64.0).reshape(8, 8)
seen = {
    "small": call(small, small.t()),
    "strided": call(small, small[:, ::2]),
    "contiguous": call(small, small.t().contiguous()),
    "first": call(small.t(), small),
    "large": call(large, large.t()),
}
print(seen)
expected = {
    "small": "RuntimeError",
    "strided": "RuntimeError",
    "contiguous": 9,
    "first": 9,
    "large": 64,
}
if seen != expected:
    sys.exit(f"changed: {seen}")
EOF
