#!/usr/bin/env bash
# torch 2.13.0, Inductor on a CPU (needs g++, AVX2 or later): two operations with another meaning.
#
# Floor division of floats is exact in eager mode, like Python's (0.1 is a little more than a
# tenth); compiled it is the floor of the rounded quotient. A float out of range cast to int8
# wraps modulo 256 in eager mode; compiled, the vector loop saturates and the remainder of the
# tensor, or a tensor too short for the loop, wraps.
#
# Seen: 9 and 10; 300 to int8 in 64 elements: 44 and 127, in 3 elements: 44 and 44. Neither warns.
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


def compare(function, x):
    torch._dynamo.reset()
    return function(x)[0].item(), torch.compile(function)(x)[0].item()


def to_int8(x):
    return x.to(torch.int8)


seen = {
    "1.0 // 0.1": compare(lambda x: x // 0.1, torch.ones(64)),
    "int8 of 64": compare(to_int8, torch.full((64,), 300.0)),
    "int8 of 3": compare(to_int8, torch.full((3,), 300.0)),
}
print("(eager, compiled):", seen)
expected = {"1.0 // 0.1": (9.0, 10.0), "int8 of 64": (44, 127), "int8 of 3": (44, 44)}
if seen != expected:
    sys.exit(f"changed: {seen}")
EOF
