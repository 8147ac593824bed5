#!/usr/bin/env bash
# triton 3.7.1: the default tolerance of its test helper is absolute.
#
# torch.testing.assert_close scales with the values and the dtype. triton.testing.assert_close
# uses atol 0.01 and rtol 0 whatever the dtype: small outputs pass when they are wrong ninefold,
# large ones of bfloat16 fail within one rounding. NaN never equals NaN and shapes must agree.
#
# Seen: (0.001, 0.009) passes; (1000, 1000.5) and (nan, nan) raise AssertionError.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet torch==2.13.0 numpy==2.4.6 triton==3.7.1
cd "$work"
"$venv/bin/python" - <<'EOF'
import sys

import torch
from triton.testing import assert_close


def check(a, b):
    try:
        assert_close(torch.tensor([a]), torch.tensor([b]))
        return "passes"
    except AssertionError:
        return "fails"


nan = float("nan")
seen = [check(0.001, 0.009), check(1000.0, 1000.5), check(nan, nan)]
print(seen)
if seen != ["passes", "fails", "fails"]:
    sys.exit(f"changed: {seen}")
EOF
