#!/usr/bin/env bash
# statsmodels 0.15.0: one NaN among the p values makes every corrected value NaN, for five methods
# of eight.
#
# multipletests accepts NaN. bonferroni, sidak, holm and holm-sidak count it as a test and leave
# the others their values; simes-hochberg, hommel and the three of the false discovery rate take a
# running minimum from the largest on, and NaN is the largest. fdrcorrection then still rejects by
# the uncorrected order, so its two results disagree. scipy raises ValueError.
#
# Seen for 0.001, NaN, 0.02: holm [0.003, nan, 0.04], fdr_bh [nan, nan, nan]; fdrcorrection rejects
# [True, False, True] with p [nan, nan, nan].
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet statsmodels==0.15.0 scipy==1.17.1 numpy==2.4.6
cd "$work"
"$venv/bin/python" - <<'EOF'
import sys

import numpy as np
from scipy import stats
from statsmodels.stats.multitest import fdrcorrection, multipletests

p_values = [0.001, np.nan, 0.02]
seen = {
    method: np.isnan(multipletests(p_values, method=method)[1]).tolist()
    for method in "bonferroni sidak holm holm-sidak".split()
    + "simes-hochberg hommel fdr_bh fdr_by fdr_tsbh".split()
}
print("which are NaN:", seen)
rejected, corrected = fdrcorrection(p_values)
print("fdrcorrection:", rejected.tolist(), corrected.tolist())
try:
    stats.false_discovery_control(p_values)
    refused = False
except ValueError:
    refused = True
one, every = [False, True, False], [True] * 3
if (
    list(seen.values()) != [one] * 4 + [every] * 5
    or rejected.tolist() != [True, False, True]
    or not np.isnan(corrected).all()
    or not refused
):
    sys.exit("changed")
EOF
