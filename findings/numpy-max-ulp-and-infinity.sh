#!/usr/bin/env bash
# numpy 2.4.6: two checks of numpy.testing that read as strict accept infinity for a number and
# 2**53 + 1 for 2**53.
#
# assert_array_max_ulp subtracts bit patterns, and infinity is the pattern after the largest
# number: an overflow is one ULP away and passes the strictest limit there is. assert_allclose with
# both tolerances 0 converts integers to float64, so large ones that differ pass;
# assert_array_equal compares them as integers.
#
# Seen: max_ulp(3.4028235e38, inf, maxulp=1) passes, allclose of the two fails; allclose(2**53 + 1,
# 2**53, 0, 0) passes, array_equal fails.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet numpy==2.4.6
cd "$work"
"$venv/bin/python" - <<'EOF'
import sys

import numpy as np
from numpy import testing


def passes(check, *arguments, **options):
    try:
        check(*arguments, **options)
    except AssertionError:
        return False
    return True


largest, infinity = np.finfo(np.float32).max, np.float32(np.inf)
large = np.int64(2**53 + 1), np.int64(2**53)
seen = {
    "max_ulp": passes(testing.assert_array_max_ulp, largest, infinity, maxulp=1),
    "allclose": passes(testing.assert_allclose, largest, infinity, rtol=0.5),
    "integers, allclose": passes(testing.assert_allclose, *large, rtol=0, atol=0),
    "integers, array_equal": passes(testing.assert_array_equal, *large),
}
print(seen)
if list(seen.values()) != [True, False, True, False]:
    sys.exit(f"changed: {seen}")
EOF
