#!/usr/bin/env bash
# onnx 1.23.2: the helper checks the range of bytes and not of half bytes.
#
# make_tensor with INT8 raises OverflowError for a value out of range. With INT4 the value is cut
# to four bits and nothing is raised, so a quantised weight changes its sign; UINT4 wraps as well.
#
# Seen: INT8 300 OverflowError; INT4 [7, 8, 9] -> [7, -8, -7]; UINT4 [15, 16] -> [15, 0].
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet onnx==1.23.2 numpy==2.4.6 ml-dtypes==0.6.0
cd "$work"
"$venv/bin/python" - <<'EOF'
import sys

from onnx import TensorProto, helper, numpy_helper


def stored(kind, values):
    tensor = helper.make_tensor("a", kind, [len(values)], values)
    return [int(value) for value in numpy_helper.to_array(tensor)]


seen = {
    "INT4": stored(TensorProto.INT4, [7, 8, 9]),
    "UINT4": stored(TensorProto.UINT4, [15, 16]),
}
try:
    seen["INT8"] = stored(TensorProto.INT8, [300])
except OverflowError:
    seen["INT8"] = "OverflowError"
print(seen)
if seen != {"INT4": [7, -8, -7], "UINT4": [15, 0], "INT8": "OverflowError"}:
    sys.exit(f"changed: {seen}")
EOF
