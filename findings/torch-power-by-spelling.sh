#!/usr/bin/env bash
# torch 2.13.0: x ** 0.5 and x ** torch.tensor(0.5) differ for -inf and -0.0.
#
# A Python number 0.5 or -0.5 is replaced by sqrt or rsqrt; a tensor exponent goes to pow, which
# follows IEEE 754 and Python's math.pow. So a kernel that is checked with one spelling fails
# against the other, and -0.0 ** -0.5 even changes its sign. numpy takes the square root in every
# spelling.
#
# Seen: -inf ** 0.5 is nan by number and inf by tensor, -0.0 ** 0.5 is -0.0 and 0.0, -0.0 ** -0.5
# is -inf and inf; math.pow agrees with the tensor.
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


def three(base, exponent):
    x = torch.tensor(base)
    by_number, by_tensor = x**exponent, x ** torch.tensor(exponent)
    python = math.pow(base, exponent) if base or exponent > 0 else math.inf
    return [str(value) for value in (by_number.item(), by_tensor.item(), python)]


cases = ((-math.inf, 0.5), (-0.0, 0.5), (-0.0, -0.5))
seen = [three(*case) for case in cases]
print("number, tensor, math.pow:", dict(zip(cases, seen)))
expected = [["nan", "inf", "inf"], ["-0.0", "0.0", "0.0"], ["-inf", "inf", "inf"]]
if seen != expected:
    sys.exit("changed")
EOF
