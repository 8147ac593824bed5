#!/usr/bin/env bash
# safetensors 0.8.0 with torch 2.13.0: a conjugated tensor is stored unconjugated.
#
# torch's conj() sets a bit and moves no data. save_file writes the memory and not the bit, so the
# imaginary part changes its sign on the way to the file; torch.save keeps the bit. The opposite
# sign view, .imag of a conjugate, is refused (it is not contiguous).
#
# Seen: full((2,), 1j).conj() is -1j in memory and 1j after loading; resolve_conj() first is
# right.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet safetensors==0.8.0 numpy==2.4.6 torch==2.13.0
cd "$work"
"$venv/bin/python" - <<'EOF'
import sys

import torch
from safetensors.torch import load_file, save_file

lazy = torch.full((2,), 1j, dtype=torch.complex64).conj()
save_file({"lazy": lazy, "resolved": lazy.resolve_conj()}, "a.safetensors")
loaded = load_file("a.safetensors")
seen = {name: loaded[name][0].item() for name in ("lazy", "resolved")}
print("in memory", lazy[0].item(), "loaded", seen)
if not (lazy[0].item() == -1j and seen == {"lazy": 1j, "resolved": -1j}):
    sys.exit(f"changed: {seen}")
EOF
