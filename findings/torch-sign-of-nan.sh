#!/usr/bin/env bash
# torch 2.13.0: sign hides a NaN.
#
# numpy.sign passes a NaN on. torch.sign and torch.sgn of a real NaN return 0, the value of an
# exact zero, so a quantiser or an optimizer built on sign() goes on with a plausible number.
#
# Seen: torch.sign 0.0, torch.sgn 0.0, numpy nan.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet torch==2.13.0 numpy==2.4.6
cd "$work"
"$venv/bin/python" - <<'EOF'
import sys

import numpy as np
import torch

nan = torch.tensor([float("nan")])
seen = {
    "sign": str(torch.sign(nan).item()),
    "sgn": str(torch.sgn(nan).item()),
    "numpy": str(np.sign(np.float32("nan"))),
}
print(seen)
if seen != {"sign": "0.0", "sgn": "0.0", "numpy": "nan"}:
    sys.exit(f"changed: {seen}")
EOF
