#!/usr/bin/env bash
# onnx 1.23.2, reference evaluator, opset 21: integer division and remainder belong to two
# schools.
#
# C truncates both and Python floors both. In ONNX -7 / 2 is -3 as in C, and the default Mod takes
# the divisor's sign as in Python; fmod=1 gives C's remainder. A kernel that computes an index
# with both is wrong for negative numbers only.
#
# Seen: Div -3, Mod 1 (fmod=1: -1); -3 * 2 + 1 is -5 and not -7.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet onnx==1.23.2 numpy==2.4.6 ml-dtypes==0.6.0
cd "$work"
"$venv/bin/python" - <<'EOF'
import sys

import numpy as np
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


a, b = np.array([-7], np.int32), np.array([2], np.int32)
quotient, remainder = run("Div", a, b)[0], run("Mod", a, b)[0]
in_c = run("Mod", a, b, fmod=1)[0]
print("Div", quotient, "Mod", remainder, "fmod", in_c, "back", quotient * 2 + remainder)
if (quotient, remainder, in_c) != (-3, 1, -1):
    sys.exit("changed")
EOF
