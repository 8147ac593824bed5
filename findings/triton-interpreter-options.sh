#!/usr/bin/env bash
# triton 3.7.1, TRITON_INTERPRET=1: a launch is not checked for its options.
#
# A compiled launch raises KeyError for a keyword that is neither a parameter nor an option, and
# refuses a num_warps that is no power of two. The interpreter drops both silently, so a CPU test
# does not find the misspelling.
#
# Seen: kernel[(1,)](x, num_wraps=4) and kernel[(1,)](x, num_warps=3) run; a parameter given twice
# or missing raises.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet torch==2.13.0 numpy==2.4.6 triton==3.7.1
cd "$work"
export TRITON_INTERPRET=1
cat > kernel.py <<'EOF'
import triton
import triton.language as tl


@triton.jit
def one(out):
    tl.store(out, 1.0)
EOF
PYTHONPATH=$work "$venv/bin/python" - <<'EOF'
import sys

import torch
from kernel import one

seen = {}
for options in ({"num_wraps": 4}, {"num_warps": 3}):
    out = torch.zeros(1)
    try:
        one[(1,)](out, **options)
        seen[str(options)] = out.item()
    except Exception as error:
        seen[str(options)] = type(error).__name__
try:
    one[(1,)]()
    seen["missing"] = "runs"
except Exception:
    seen["missing"] = "raises"
print(seen)
if list(seen.values()) != [1.0, 1.0, "raises"]:
    sys.exit(f"changed: {seen}")
EOF
