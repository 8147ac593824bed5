#!/usr/bin/env bash
# safetensors 0.8.0, numpy API: an array that is not contiguous is stored wrong.
#
# save_file copies the memory from the array's first element on and ignores its strides. The file
# loads without an error and holds other values. The torch API raises ValueError for such a
# tensor.
#
# Seen: arange(6).reshape(2, 3).T comes back as [[0, 1], [2, 3], [4, 5]], arange(6)[::2] as [0, 1,
# 2]; numpy.ascontiguousarray before saving gives the right values.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet safetensors==0.8.0 numpy==2.4.6
cd "$work"
"$venv/bin/python" - <<'EOF'
import sys

import numpy as np
from safetensors.numpy import load_file, save_file

transposed = np.arange(6).reshape(2, 3).T
tensors = {
    "transposed": transposed,
    "strided": np.arange(6)[::2],
    "copied": np.ascontiguousarray(transposed),
}
save_file(tensors, "a.safetensors")
seen = {name: array.tolist() for name, array in load_file("a.safetensors").items()}
print(seen)
expected = {
    "transposed": [[0, 1], [2, 3], [4, 5]],
    "strided": [0, 1, 2],
    "copied": [[0, 3], [1, 4], [2, 5]],
}
if seen != expected:
    sys.exit(f"changed: {seen}")
EOF
