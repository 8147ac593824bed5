#!/usr/bin/env bash
# safetensors 0.8.0: one tensor name makes the file unreadable, and only loading says so.
#
# The header is one JSON object whose key __metadata__ is reserved. save_file accepts a tensor of
# that name; load_file raises SafetensorError about the header, and every other tensor of the file
# is out of reach too.
#
# Seen: save_file returns, load_file raises SafetensorError.
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
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

save_file({"__metadata__": np.ones(1), "weight": np.ones(1)}, "a.safetensors")
try:
    load_file("a.safetensors")
except SafetensorError as error:
    print("SafetensorError:", str(error)[:60])
else:
    sys.exit("changed: the file loads")
EOF
