#!/usr/bin/env bash
# torch 2.13.0, CPU on x86-64: three quantisers, three values for NaN.
#
# quantize_per_tensor gives the largest integer, quantize_per_channel zero, and
# fake_quantize_per_tensor_affine, which training uses in their place, the smallest. Nothing is
# raised, so a broken activation becomes an extreme or a plain value according to the function.
#
# Seen with scale 1, zero point 0: 127, 0, -128; infinity is 127 for the first and the last.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet torch==2.13.0 numpy==2.4.6
cd "$work"
"$venv/bin/python" - <<'EOF'
import sys
import warnings

import torch

warnings.simplefilter("ignore")
x = torch.tensor([torch.nan, torch.inf])
ones, zeros = torch.ones(1), torch.zeros(1)
per_tensor = torch.quantize_per_tensor(x, 1.0, 0, torch.qint8).int_repr()
per_channel = torch.quantize_per_channel(x[None], ones, zeros, 0, torch.qint8).int_repr()
fake = torch.fake_quantize_per_tensor_affine(x, 1.0, 0, -128, 127)
seen = (per_tensor.tolist(), per_channel[0, 0].item(), fake.tolist())
print(seen)
if seen != ([127, 127], 0, [-128.0, 127.0]):
    sys.exit(f"changed: {seen}")
EOF
