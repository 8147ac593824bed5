#!/usr/bin/env bash
# torch 2.13.0, Inductor on a CPU (needs g++): a low-precision step can vanish when compiled.
#
# x.to(bfloat16).float() rounds in eager mode. Inductor computes in float32 and skips the cast
# back and forth, so quantisation that is emulated this way does nothing, an overflow of float16
# does not happen, and a chain of bfloat16 operations is not rounded in between. A round trip
# through float8 is kept. options={"emulate_precision_casts": True} restores the eager results.
#
# Seen, eager and compiled: 1 + 2**-12 through bfloat16: 1.0 and 1.000244; 1e6 through float16:
# inf and 1e6; (256 + 1) - 256 in bfloat16: 0 and 1; 0.3 through float8: 0.3125 and 0.3125.
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


def through(dtype):
    return lambda x: x.to(dtype).float()


cases = {
    "bfloat16": (through(torch.bfloat16), torch.full((20,), 1 + 2**-12)),
    "float16": (through(torch.float16), torch.full((20,), 1e6)),
    "chain": (lambda x: (x + 1) - x, torch.full((20,), 256.0, dtype=torch.bfloat16)),
    "float8": (through(torch.float8_e4m3fn), torch.full((20,), 0.3)),
}
seen = {}
for name, (function, x) in cases.items():
    torch._dynamo.reset()
    compiled = torch.compile(function)
    seen[name] = (function(x)[0].item(), compiled(x)[0].item())
torch._dynamo.reset()
function, x = cases["bfloat16"]
emulated = torch.compile(function, options={"emulate_precision_casts": True})
seen["emulated"] = emulated(x)[0].item()
print("(eager, compiled):", seen)
expected = {
    "bfloat16": (1.0, 1 + 2**-12),
    "float16": (float("inf"), 1e6),
    "chain": (0.0, 1.0),
    "float8": (0.3125, 0.3125),
    "emulated": 1.0,
}
if seen != expected:
    sys.exit(f"changed: {seen}")
EOF
