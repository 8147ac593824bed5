#!/usr/bin/env bash
# torch 2.13.0, numpy 2.4.6: the median of 1, inf, inf is NaN by quantile.
#
# Where a position falls on an element, quantile still interpolates to the next one with weight 0,
# and 0 times (inf - inf) is NaN. nanquantile gives the same, so it is not a NaN that was there.
# median and interpolation="nearest" give inf. Whoever writes inf for a time of a failed call gets
# no quantile at all from the first pair of them on.
#
# Seen: torch.quantile nan, torch.nanquantile nan, numpy nan; numpy.median and "nearest" inf.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet torch==2.13.0 numpy==2.4.6
cd "$work"
"$venv/bin/python" -W ignore - <<'EOF'
import math
import sys

import numpy as np
import torch

times = torch.tensor([1.0, math.inf, math.inf])
seen = {
    "quantile": torch.quantile(times, 0.5).item(),
    "nanquantile": torch.nanquantile(times, 0.5).item(),
    "numpy": float(np.quantile(times.numpy(), 0.5)),
    "numpy median": float(np.median(times.numpy())),
    "nearest": torch.quantile(times, 0.5, interpolation="nearest").item(),
}
print(seen)
lost = [name for name, value in seen.items() if math.isnan(value)]
if lost != ["quantile", "nanquantile", "numpy"] or seen["nearest"] != math.inf:
    sys.exit(f"changed: {seen}")
EOF
