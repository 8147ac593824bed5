#!/usr/bin/env bash
# scipy 1.17.1: the default interval (BCa) does not exist for coarse data.
#
# Timings from a coarse clock repeat. BCa needs a spread of the jackknife values; where the median
# does not move when a value is left out, the interval is NaN with a warning, not the point
# itself. method="percentile" returns the point.
#
# Seen: ten equal values, mean: (nan, nan); [1] * 7 + [2], median: (nan, nan); percentile (1, 1).
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
from scipy.stats import bootstrap

warnings.simplefilter("ignore")
steady = [1.0] * 7 + [2.0]


def interval(values, statistic, method="BCa"):
    result = bootstrap((np.array(values),), statistic, method=method, rng=0)
    low, high = result.confidence_interval
    return str([float(low), float(high)])


seen = [
    interval([3.0] * 10, np.mean),
    interval(steady, np.median),
    interval(steady, np.median, "percentile"),
]
print(seen)
if seen != ["[nan, nan]", "[nan, nan]", "[1.0, 1.0]"]:
    sys.exit(f"changed: {seen}")
EOF
