#!/usr/bin/env bash
# torch 2.13.0, CPU: the same seed and shape give other random inputs when the strides differ.
#
# rand_like and uniform_ keep the strides of their argument and fill the memory in order, so a
# transposed example yields the transposed numbers. randn_like and normal_ use one algorithm for
# contiguous memory of 16 elements and more and another for the rest: nothing is shared. The input
# of a test thus depends on the layout of its example tensor.
#
# Seen for an 8 x 8 example: rand_like(x.t()) is rand_like(x).t(); randn_like shares 0 of 64
# values; for 3 x 3 randn_like(x.t()) is randn_like(x).t().
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


def relation(function, size):
    x = torch.ones(size, size)
    torch.manual_seed(0)
    plain = function(x)
    torch.manual_seed(0)
    transposed = function(x.t()).contiguous()
    shared = int(torch.isin(plain, transposed).sum())
    return torch.equal(plain.t(), transposed), torch.equal(plain, transposed), shared


seen = {
    "rand_like 8": relation(torch.rand_like, 8),
    "randn_like 8": relation(torch.randn_like, 8),
    "randn_like 3": relation(torch.randn_like, 3),
}
print("(transposed, equal, shared values):", seen)
expected = {
    "rand_like 8": (True, False, 64),
    "randn_like 8": (False, False, 0),
    "randn_like 3": (True, False, 9),
}
if seen != expected:
    sys.exit(f"changed: {seen}")
EOF
