#!/usr/bin/env bash
# pytest 9.2.0 with numpy 2.4.6: approx of a numpy integer wraps, so -128 is within 1 of 127.
#
# approx computes abs(expected - actual) in the types it is given. Two numpy scalars subtract in
# their own type: far apart may be near, and for unsigned types the smaller one as the expected
# value is far from its neighbour. An array of the same values is compared as Python numbers and
# judged rightly, so an element taken out of it gets another verdict.
#
# Seen with abs=1: int8 127 == approx(-128) True, int32 the same at its ends, int8 arrays False;
# with abs=2: uint8 5 == approx(3) False, 3 == approx(5) True.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet pytest==9.2.0 numpy==2.4.6
cd "$work"
"$venv/bin/python" - <<'EOF'
import sys
import warnings

import numpy as np
from pytest import approx

warnings.simplefilter("ignore")


def near(dtype, actual, expected, limit):
    return bool(dtype(actual) == approx(dtype(expected), abs=limit))


seen = {
    "int8 127, -128": near(np.int8, 127, -128, 1),
    "int32 ends": near(np.int32, 2**31 - 1, -(2**31), 1),
    "int8 arrays": bool(np.int8([127]) == approx(np.int8([-128]), abs=1)),
    "uint8 5, 3": near(np.uint8, 5, 3, 2),
    "uint8 3, 5": near(np.uint8, 3, 5, 2),
}
print(seen)
if list(seen.values()) != [True, True, False, False, True]:
    sys.exit(f"changed: {seen}")
EOF
