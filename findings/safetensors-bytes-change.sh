#!/usr/bin/env bash
# safetensors 0.8.0: a file's hash is no identity once it has metadata.
#
# Tensors are written in a fixed order, whatever the order of the dictionary. The metadata goes
# through a hash map with a random start, so its keys are in another order at each call, even
# within one process. A checksum of the file differs for equal contents.
#
# Seen: 20 calls with 8 metadata keys give 20 different byte strings; without metadata, one.
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
from safetensors.numpy import save

tensors = {"b": np.ones(2), "a": np.ones(1)}
metadata = {letter: letter for letter in "abcdefgh"}
with_metadata = {save(tensors, metadata=metadata) for _ in range(20)}
swapped = {"a": tensors["a"], "b": tensors["b"]}
without = {save(tensors) for _ in range(20)} | {save(swapped)}
print("with metadata", len(with_metadata), "without", len(without))
if not (len(with_metadata) > 10 and len(without) == 1):
    sys.exit("changed: the bytes repeat")
EOF
