#!/usr/bin/env bash
# torch 2.13.0, CPU: a longer randn does not start with the shorter one of the same seed.
#
# From 16 elements on, randn fills blocks of 16; where the length is no multiple of 16 it draws
# the last 16 elements once more, over values that it had already written. rand has stable
# prefixes.
#
# Seen: randn(20) shares its first 4 elements with randn(16) and none of the other 12; randn(40)
# shares 24 of 32 with randn(32); randn(15) shares none with randn(16); rand(20)[:16] is rand(16).
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


def shared(function, long, short):
    torch.manual_seed(0)
    a = function(long)
    torch.manual_seed(0)
    b = function(short)
    return int((a[:short] == b[: min(long, short)]).sum())


seen = {
    "randn 20 16": shared(torch.randn, 20, 16),
    "randn 40 32": shared(torch.randn, 40, 32),
    "randn 48 32": shared(torch.randn, 48, 32),
    "randn 16 15": shared(torch.randn, 16, 15),
    "rand 20 16": shared(torch.rand, 20, 16),
}
print(seen)
expected = {
    "randn 20 16": 4,
    "randn 40 32": 24,
    "randn 48 32": 32,
    "randn 16 15": 0,
    "rand 20 16": 16,
}
if seen != expected:
    sys.exit(f"changed: {seen}")
EOF
