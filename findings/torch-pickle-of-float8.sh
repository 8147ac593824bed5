#!/usr/bin/env bash
# torch 2.13.0: some tensors can be pickled and not unpickled.
#
# pickle.dumps of a float8, uint16, uint32 or uint64 tensor raises nothing, and pickle.loads of
# these bytes raises AttributeError (UntypedStorage has no attribute 'dtype'). So a tensor that
# went into a queue or a file this way is lost. torch.save with torch.load and copy.deepcopy work.
#
# Seen: AttributeError for the four dtypes, none for bfloat16 and uint8.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet torch==2.13.0 numpy==2.4.6
cd "$work"
"$venv/bin/python" - <<'EOF'
import copy
import io
import pickle
import sys

import torch

seen = {}
for name in ("float8_e4m3fn", "uint16", "uint32", "uint64", "bfloat16", "uint8"):
    tensor = torch.ones(2).to(getattr(torch, name))
    data = pickle.dumps(tensor)
    try:
        pickle.loads(data)
        seen[name] = "loads"
    except AttributeError:
        seen[name] = "AttributeError"
    buffer = io.BytesIO()
    torch.save(tensor, buffer)
    buffer.seek(0)
    assert torch.load(buffer).dtype == copy.deepcopy(tensor).dtype == tensor.dtype
print(seen)
expected = dict.fromkeys(("float8_e4m3fn", "uint16", "uint32", "uint64"), "AttributeError")
expected |= {"bfloat16": "loads", "uint8": "loads"}
if seen != expected:
    sys.exit(f"changed: {seen}")
EOF
