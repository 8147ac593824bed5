#!/usr/bin/env bash
# torch 2.13.0: clip_grad_norm_ sets float16 gradients to zero when their norm passes 65504.
#
# The norm is in the dtype of the gradients. Where it overflows it is infinite, each gradient is
# multiplied by max_norm / inf, and all of them are 0: finite gradients, no NaN, no warning, and a
# step that does nothing. error_if_nonfinite is False by default. In bfloat16 and float32 the same
# gradients are scaled.
#
# Seen for 100 gradients of 30000: float16 norm inf, gradients 0; float32 norm 300000, gradients
# 0.1; bfloat16 0.1.
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

seen = {}
for dtype in (torch.float16, torch.bfloat16, torch.float32):
    parameter = torch.nn.Parameter(torch.zeros(100, dtype=dtype))
    parameter.grad = torch.full((100,), 30000.0, dtype=dtype)
    norm = torch.nn.utils.clip_grad_norm_([parameter], max_norm=1.0)
    seen[str(dtype)] = [f"{norm.item():.2g}", f"{parameter.grad[0].item():.2g}"]
print("(norm, gradient):", seen)
if list(seen.values()) != [["inf", "0"], ["3e+05", "0.1"], ["3e+05", "0.1"]]:
    sys.exit("changed")
EOF
