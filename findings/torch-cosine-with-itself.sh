#!/usr/bin/env bash
# torch 2.13.0: the cosine similarity of a vector with itself can be 0, 0.05 or 1.008.
#
# Often used to accept a kernel's output (more than 0.999, say). Squares overflow in float32 from
# 1e19 on and the result is 0, not NaN. Below 1e-8 the eps replaces the norms. In bfloat16 the
# result is rounded to above 1, so 1 - similarity is negative. Outputs to compare need float64.
#
# Seen: four times 1e20: 0.0 (float64: 1.0); [1e-9, 2e-9]: 0.05; a thousand times 300 in bfloat16:
# 1.0078125.
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
from torch.nn.functional import cosine_similarity


def itself(values, dtype=torch.float32):
    x = torch.tensor(values, dtype=dtype)
    return round(cosine_similarity(x, x, dim=0).item(), 7)


seen = {
    "1e20": itself([1e20] * 4),
    "1e20 in float64": itself([1e20] * 4, torch.float64),
    "1e-9": itself([1e-9, 2e-9]),
    "bfloat16": itself([300.0] * 1000, torch.bfloat16),
}
print(seen)
if seen["1e20"] != 0 or seen["1e20 in float64"] != 1 or not 0.04 < seen["1e-9"] < 0.06:
    sys.exit("changed")
if seen["bfloat16"] <= 1:
    sys.exit("changed")
EOF
