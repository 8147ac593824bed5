#!/usr/bin/env bash
# torch 2.13.0, CPU: no two operations agree on ties.
#
# argmax and topk return the first positions, sort (not stable by default) positions from
# somewhere in the middle, median, kthvalue and mode others again. Indices from two operations on
# the same data, or from a fused kernel and its reference, cannot be compared where values repeat.
#
# Seen: argmax 0, topk [0, 1, 2], sort [672, 657, 658], median 499, kthvalue(1) 667, mode 343. The
# script asks that sort, median and argmax differ and that stable sort is [0, 1, 2].
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

x = torch.zeros(1000)
seen = {
    "argmax": x.argmax().item(),
    "topk": x.topk(3).indices.tolist(),
    "sort": x.sort().indices[:3].tolist(),
    "stable": x.sort(stable=True).indices[:3].tolist(),
    "median": x.median(0).indices.item(),
    "kthvalue": x.kthvalue(1).indices.item(),
    "mode": x.mode().indices.item(),
}
print(seen)
first = {seen["argmax"], seen["sort"][0], seen["median"], seen["mode"]}
if not (seen["argmax"] == 0 and seen["stable"] == [0, 1, 2] and len(first) == 4):
    sys.exit(f"changed: {seen}")
EOF
