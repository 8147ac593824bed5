#!/usr/bin/env bash
# torch 2.13.0: a Python number beyond float16's range is infinity in a sum, itself in a product.
#
# Element-wise operations on float16 compute in float32. mul and div keep the number in float32, so
# 0.5 * 70000 is 35008; add and sub and comparisons round it to float16 first, so -60000 + 70000 is
# inf (10000 is right) and inf > 70000 is False; clamp raises. Which one an expression gets depends
# on how it is written.
#
# Seen: 0.5 * 70000 = 35008, 60000 / 70000 = 0.857, -60000 + 70000 = inf, inf == 70000 True, clamp
# RuntimeError.
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


def half(value):
    return torch.tensor(value, dtype=torch.float16)


seen = {
    "product": (half(0.5) * 70000).item(),
    "quotient": (half(60000.0) / 70000).item(),
    "sum": (half(-60000.0) + 70000).item(),
    "equal": (half(math.inf) == 70000).item(),
    "greater": (half(math.inf) > 70000).item(),
}
try:
    seen["clamp"] = half(1.0).clamp(max=70000).item()
except RuntimeError:
    seen["clamp"] = "RuntimeError"
print(seen)
expected = {"product": 35008.0, "sum": math.inf, "equal": True, "greater": False}
expected["clamp"] = "RuntimeError"
if any(seen[name] != value for name, value in expected.items()) or seen["quotient"] > 0.9:
    sys.exit(f"changed: {seen}")
EOF
