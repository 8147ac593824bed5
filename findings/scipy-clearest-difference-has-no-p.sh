#!/usr/bin/env bash
# scipy 1.17.1: brunnermunzel has no p value where two samples do not overlap at all, and spearmanr
# has p = 0 for three points.
#
# Three timings before and three after, all slower, are the plainest difference there is:
# brunnermunzel divides by the zero variance of the ranks and returns NaN (with
# distribution="normal" p = 0), with five or fifty of each as well. spearmanr of three points in
# order is p = 0 by its t distribution, where six orders exist and kendalltau says 1/3.
# mannwhitneyu and permutation_test say 0.1 for three and three.
#
# Seen for 1, 2, 3 and 4, 5, 6: brunnermunzel nan, "normal" 0.0, mannwhitneyu 0.1; fifty and fifty:
# nan; spearmanr p 0.0, kendalltau 0.333.
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
low, high = np.arange(3.0), np.arange(3.0, 6.0)
many = np.arange(50.0)
seen = {
    "brunnermunzel": stats.brunnermunzel(low, high).pvalue,
    "normal": stats.brunnermunzel(low, high, distribution="normal").pvalue,
    "of fifty": stats.brunnermunzel(many, many + 100).pvalue,
    "mannwhitneyu": stats.mannwhitneyu(low, high).pvalue,
    "spearmanr": stats.spearmanr(low, high).pvalue,
    "kendalltau": stats.kendalltau(low, high).pvalue,
}
seen = {name: round(float(p), 4) for name, p in seen.items()}
print(seen)
if str(list(seen.values())) != "[nan, 0.0, nan, 0.1, 0.0, 0.3333]":
    sys.exit("changed")
EOF
