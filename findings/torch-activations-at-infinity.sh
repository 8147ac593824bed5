#!/usr/bin/env bash
# torch 2.13.0, CPU: smooth activations have no limits at infinity, and gelu's depends on dtype.
#
# gelu, silu, hardswish and mish tend to 0 at -inf; torch computes x * something there and returns
# NaN, while elu, softplus and logsigmoid return their limits. gelu(+inf) is inf in float64 and
# float16 and NaN in float32 and bfloat16 (another kernel); approximate="tanh" gives inf.
#
# Seen: as above, for tensors of 2 and of 80 elements.
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
import torch.nn.functional as F

seen = {}
for count in (1, 40):
    for name in ("float32", "float64", "bfloat16", "float16"):
        x = torch.tensor([torch.inf, -torch.inf] * count, dtype=getattr(torch, name))
        tanh = F.gelu(x, approximate="tanh")
        row = [F.gelu(x), tanh, F.silu(x), F.hardswish(x), F.mish(x), F.elu(x)]
        seen.setdefault(name, set()).add(str([y[-2:].tolist() for y in row]))
print(seen)
tail = "[inf, nan], [inf, nan], [inf, nan], [inf, nan], [inf, -1.0]]"
expected = {
    "float32": {"[[nan, nan], " + tail},
    "float64": {"[[inf, nan], " + tail},
    "bfloat16": {"[[nan, nan], " + tail},
    "float16": {"[[inf, nan], " + tail},
}
if seen != expected:
    sys.exit(f"changed: {seen}")
EOF
