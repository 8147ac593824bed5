#!/usr/bin/env bash
# torch 2.13.0, CPU: whether alpha=0 hides a NaN of the product depends on dtype and operation.
#
# beta=0 is documented to ignore what is in the input, NaN included. Of alpha nothing is said: addmm
# and addmv in float32 leave the product out, addmm in bfloat16, baddbmm in float32 and addcmul
# compute 0 * NaN. A fused layer whose scale is 0 so is finite in one dtype and NaN in the other.
#
# Seen for 1 + 0 * (NaN @ 1): addmm float32 1, addmv float32 1; addmm bfloat16, baddbmm float32,
# addcmul float32 NaN.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet torch==2.13.0 numpy==2.4.6
cd "$work"
"$venv/bin/python" - <<'EOF'
import math
import sys

import torch

one, nan = torch.ones(1, 1), torch.full((1, 1), math.nan)
low, low_nan = one.bfloat16(), nan.bfloat16()
seen = {
    "addmm float32": torch.addmm(one, nan, one, alpha=0).item(),
    "addmv float32": torch.addmv(one[0], nan, one[0], alpha=0).item(),
    "addmm bfloat16": torch.addmm(low, low_nan, low, alpha=0).item(),
    "baddbmm float32": torch.baddbmm(one[None], nan[None], one[None], alpha=0).item(),
    "addcmul float32": torch.addcmul(one, nan, one, value=0).item(),
}
print(seen)
hidden = [name for name, value in seen.items() if value == 1.0]
kept = [name for name, value in seen.items() if math.isnan(value)]
if hidden != ["addmm float32", "addmv float32"] or len(kept) != 3:
    sys.exit(f"changed: {seen}")
EOF
