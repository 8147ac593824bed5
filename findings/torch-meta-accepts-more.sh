#!/usr/bin/env bash
# torch 2.13.0: the meta device propagates shapes and checks little else.
#
# Running a model on meta is a cheap test of its shapes. Mixed dtypes in a matrix product, a
# linear layer or a convolution, dtypes that no CPU kernel has, and indices that are out of range
# for a real tensor pass there, and the result dtype is made up. Shapes are checked.
#
# Seen: all calls below work on meta and raise on a CPU; a product of wrong shapes raises on both.
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
from torch.nn.functional import linear


def calls(device):
    def ones(dtype=torch.float32):
        return torch.ones(2, 2, dtype=dtype, device=device)

    float8 = torch.float8_e4m3fn
    return {
        "float32 @ float64": lambda: ones() @ ones(torch.float64),
        "bool @ bool": lambda: ones(torch.bool) @ ones(torch.bool),
        "linear": lambda: linear(ones(), ones(torch.float16)),
        "float8 sum": lambda: ones(float8).sum(),
        "softmax int": lambda: ones(torch.int32).softmax(0),
        "index": lambda: ones()[torch.tensor([7])],
        "wrong shape": lambda: ones() @ ones().reshape(4, 1),
    }


def outcome(call):
    try:
        call()
        return "works"
    except (RuntimeError, IndexError):
        return "raises"


meta, cpu = calls("meta"), calls("cpu")
seen = {name: (outcome(meta[name]), outcome(cpu[name])) for name in meta}
print("(meta, cpu):", seen)
expected = dict.fromkeys(meta, ("works", "raises")) | {"wrong shape": ("raises", "raises")}
if seen != expected:
    sys.exit(f"changed: {seen}")
EOF
