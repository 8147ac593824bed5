#!/usr/bin/env bash
# torch 2.13.0: torch.utils.flop_counter counts the operator that ran, not the work asked for.
#
# scaled_dot_product_attention runs a CPU-only flash operator that the counter does not know; a
# 3-d input or the meta device takes a decomposed path that it does know. mv, dot and the int8
# product are unknown, while linear and einsum of the same vectors turn into counted matrix
# products.
#
# Seen: attention 0 on a CPU and 8192 on meta; mv 0, dot 0, _int_mm 0; linear of a vector 128.
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
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode


def count(call):
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


def attention(device):
    x = torch.ones(1, 1, 16, 8, device=device)
    return F.scaled_dot_product_attention(x, x, x)


matrix, vector = torch.ones(8, 8), torch.ones(8)
bytes_ = torch.ones(32, 32, dtype=torch.int8)
seen = {
    "attention cpu": count(lambda: attention("cpu")),
    "attention meta": count(lambda: attention("meta")),
    "mv": count(lambda: matrix @ vector),
    "dot": count(lambda: vector @ vector),
    "int_mm": count(lambda: torch._int_mm(bytes_, bytes_)),
    "linear": count(lambda: F.linear(vector, matrix)),
    "einsum": count(lambda: torch.einsum("i,i->", vector, vector)),
}
print(seen)
expected = {
    "attention cpu": 0,
    "attention meta": 8192,
    "mv": 0,
    "dot": 0,
    "int_mm": 0,
    "linear": 128,
    "einsum": 16,
}
if seen != expected:
    sys.exit(f"changed: {seen}")
EOF
