#!/usr/bin/env bash
# torch 2.13.0: ReduceLROnPlateau takes a worse value for the best one when the metric is negative.
#
# threshold_mode is "rel" by default: in mode min, better means below best * (1 - threshold). For a
# negative best that bound lies above it, so a value slightly worse than the best one replaces it,
# and so on: a log-likelihood or a negated score may get worse for ever, and the rate is never
# reduced. Mode max with negative values does the same. The same series shifted to positive values
# is reduced at once.
#
# Seen with threshold 0.1, patience 0: -1, -0.95, -0.9, -0.85 keeps the rate 1 and best is -0.85;
# 1, 1.05, 1.1, 1.15 ends at 0.001.
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


def end(values, mode):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, mode=mode, patience=0, threshold=0.1
    )
    for value in values:
        scheduler.step(value)
    return scheduler.best, round(optimizer.param_groups[0]["lr"], 6)


seen = {
    "min, negative": end([-1, -0.95, -0.9, -0.85], "min"),
    "max, negative": end([-1, -1.05, -1.1, -1.15], "max"),
    "min, positive": end([1, 1.05, 1.1, 1.15], "min"),
}
print("(best, rate):", seen)
if list(seen.values()) != [(-0.85, 1.0), (-1.15, 1.0), (1.0, 0.001)]:
    sys.exit("changed")
EOF
