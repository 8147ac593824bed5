#!/usr/bin/env bash
# onnx 1.23.2 (reference evaluator, opset 21) and torch 2.13.0: another set of overflow rules.
#
# ONNX saturates all four float8 formats by default, infinity included. torch saturates e4m3fn
# alone. So a model exported from torch shows 57344 where torch had inf, and 240 where torch had
# NaN; with saturate=0 ONNX gives NaN for e4m3fn, where torch gives 448.
#
# Seen for inf: ONNX 448, 57344, 240, 57344; saturate=0: nan, inf, nan, nan; torch 448, inf, nan,
# nan, in the order e4m3fn, e5m2, e4m3fnuz, e5m2fnuz.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet onnx==1.23.2 numpy==2.4.6 ml-dtypes==0.6.0 torch==2.13.0
cd "$work"
"$venv/bin/python" - <<'EOF'
import sys

import numpy as np
import torch
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator


def run(operator, *inputs, kind=TensorProto.FLOAT, **attributes):
    names = [f"x{index}" for index in range(len(inputs))]
    node = helper.make_node(operator, names, ["y"], **attributes)
    specs = []
    for name, value in zip(names, inputs):
        dtype = helper.np_dtype_to_tensor_dtype(value.dtype)
        specs.append(helper.make_tensor_value_info(name, dtype, value.shape))
    result = helper.make_tensor_value_info("y", kind, None)
    graph = helper.make_graph([node], "g", specs, [result])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])
    return ReferenceEvaluator(model).run(None, dict(zip(names, inputs)))[0]


names = ["float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz"]
infinity = np.array([np.inf], np.float32)
seen = {}
for name in names:
    to = getattr(TensorProto, name.upper().replace("_", ""))
    row = []
    for saturate in (1, 0):
        cast = run("Cast", infinity, kind=to, to=to, saturate=saturate)
        row.append(float(cast[0]))
    row.append(torch.from_numpy(infinity).to(getattr(torch, name)).float().item())
    seen[name] = str(row)
print("[saturate, saturate=0, torch]", seen)
expected = {
    "float8_e4m3fn": "[448.0, nan, 448.0]",
    "float8_e5m2": "[57344.0, inf, inf]",
    "float8_e4m3fnuz": "[240.0, nan, nan]",
    "float8_e5m2fnuz": "[57344.0, nan, nan]",
}
if seen != expected:
    sys.exit(f"changed: {seen}")
EOF
