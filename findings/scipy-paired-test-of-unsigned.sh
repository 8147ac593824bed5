#!/usr/bin/env bash
# scipy 1.17.1: ttest_rel subtracts unsigned integers as they are, and every negative difference
# wraps.
#
# Counters and clocks deliver uint64. ttest_rel computes a - b in that type, so a timing that is
# smaller by 100 counts as larger by 2**64 - 100. The one-sided p value goes from 0.0005 to 1,
# without a warning. ttest_ind and wilcoxon give the same for unsigned and float.
#
# Seen: statistic -13.08 for floats and inf for uint64, p (less) 0.00048 and 1.0; uint8 [1, 2, 3]
# against [2, 4, 9]: 165.6 instead of -1.96.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet scipy==1.17.1 numpy==2.4.6
cd "$work"
"$venv/bin/python" - <<'EOF'
import sys
import warnings

import numpy as np
from scipy import stats

warnings.simplefilter("ignore")
before, after = [1000, 1010, 1020, 1005], [1100, 1090, 1130, 1120]


def look(dtype):
    a, b = np.array(before, dtype), np.array(after, dtype)
    paired = stats.ttest_rel(a, b, alternative="less")
    return {
        "statistic": round(float(paired.statistic), 2),
        "p": round(float(paired.pvalue), 5),
        "ttest_ind": round(float(stats.ttest_ind(a, b).pvalue), 7),
        "wilcoxon": round(float(stats.wilcoxon(a, b).pvalue), 5),
    }


real, unsigned = look(np.float64), look(np.uint64)
small = stats.ttest_rel(np.uint8([1, 2, 3]), np.uint8([2, 4, 9])).statistic
print("float64", real, "uint64", unsigned, "uint8 statistic", round(float(small), 1))
same = all(real[name] == unsigned[name] for name in ("ttest_ind", "wilcoxon"))
if not same or (real["p"], unsigned["p"]) != (0.00048, 1.0) or real["statistic"] > -13:
    sys.exit("changed")
if unsigned["statistic"] < 0 or small < 100:
    sys.exit("changed")
EOF
