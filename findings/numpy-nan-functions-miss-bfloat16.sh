#!/usr/bin/env bash
# numpy 2.4.6 with ml_dtypes 0.6.0: half of the nan functions do not see the NaN of a bfloat16
# array.
#
# nansum, nanprod, nanmean, nanstd and nan_to_num look for NaN only if the scalar type descends
# from numpy.inexact; ml_dtypes' types do not, so the array is used as it is and no warning comes.
# nanmax, nanmin and nanmedian take another way and work. nanargmax points at the NaN. The testing
# functions are split likewise: assert_allclose takes two NaN for equal, assert_array_equal does
# not.
#
# Seen for [1, nan, 3]: nansum nan (float16: 4), nanmax 3, nan_to_num keeps nan, nanargmax 1;
# float8 the same.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet ml-dtypes==0.6.0 numpy==2.4.6
cd "$work"
"$venv/bin/python" - <<'EOF'
import sys
import warnings

import ml_dtypes
import numpy as np

warnings.simplefilter("ignore")


def passes(check, array):
    try:
        check(array, array.copy())
    except AssertionError:
        return False
    return True


def look(dtype):
    x = np.array([1, np.nan, 3], dtype)
    return {
        "nansum": str(float(np.nansum(x))),
        "nanmax": str(float(np.nanmax(x))),
        "nan_to_num": str(float(np.nan_to_num(x)[1])),
        "nanargmax": int(np.nanargmax(x)),
        "allclose": passes(np.testing.assert_allclose, x),
        "array_equal": passes(np.testing.assert_array_equal, x),
    }


seen = [look(dtype) for dtype in (np.float16, ml_dtypes.bfloat16, ml_dtypes.float8_e5m2)]
print("float16", seen[0], "bfloat16", seen[1])
names = ["nansum", "nanmax", "nan_to_num", "nanargmax", "allclose", "array_equal"]
right = dict(zip(names, ["4.0", "3.0", "0.0", 2, True, True]))
wrong = dict(zip(names, ["nan", "3.0", "nan", 1, True, False]))
if seen != [right, wrong, wrong]:
    sys.exit(f"changed: {seen}")
EOF
