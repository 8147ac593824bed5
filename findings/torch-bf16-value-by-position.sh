#!/usr/bin/env bash
# torch 2.13.0, CPU with AVX2 or AVX-512: an elementwise result depends on the tensor's length.
#
# For bfloat16 and float16 rsqrt the vector code rounds once, the scalar code for a single element
# rounds the root and then the quotient. So f(x)[i] differs from f(x[i:i+1]) by one unit in the
# last place; add and sub with alpha do the same for bfloat16. exp, sqrt, tanh, erf, silu and gelu
# agree. With ATEN_CPU_CAPABILITY=default there is no vector code and nothing differs.
#
# Seen for 1,003 values in (0.1, 4.1): 280 of rsqrt and 107 of add(x, x, alpha=0.3) differ with
# AVX-512; a first element of 0.6953 against 0.6914. The script asks for more than 20 each.
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

generator = torch.Generator().manual_seed(0)
x = (torch.rand(1003, generator=generator) * 4 + 0.1).bfloat16()
functions = {
    "rsqrt": torch.rsqrt,
    "add alpha": lambda v: torch.add(v, v, alpha=0.3),
    "exp": torch.exp,
    "sqrt": torch.sqrt,
    "silu": torch.nn.functional.silu,
}
seen = {}
for name, function in functions.items():
    single = torch.cat([function(part) for part in x.split(1)])
    seen[name] = int((function(x) != single).sum())
print(torch.backends.cpu.get_cpu_capability(), seen)
same = seen["exp"] == seen["sqrt"] == seen["silu"] == 0
if not (seen["rsqrt"] > 20 and seen["add alpha"] > 20 and same):
    sys.exit(f"changed (or a CPU without AVX2): {seen}")
EOF
