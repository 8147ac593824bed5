#!/usr/bin/env bash
# onnxruntime 1.32.0, CPU: ReduceSum of int64 is rounded like a float, and int32 saturates.
#
# ReduceSum, ReduceProd, ReduceMean and ReduceSumSquare of integers go through a float: above 2**53
# the low bits are lost, and what overflows becomes the largest integer. CumSum, Add and MatMul of
# the same numbers are exact and wrap around, as onnx's reference does in all of them. So a sum and
# the last value of a running sum differ, for a checksum and for nanoseconds since 1970 added up.
#
# Seen: ReduceSum int64 [2**53, 1, 0] = 9007199254740992 (reference and CumSum ...993), int32
# [2147483647, 1] = 2147483647 (reference and CumSum -2147483648), ReduceProd int32 [2147483647, 2]
# = 2147483647 (reference -2).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet onnx==1.23.2 onnxruntime==1.32.0 ml-dtypes==0.6.0 \
    numpy==2.4.6
cd "$work"
"$venv/bin/python" - <<'EOF'
import sys

import numpy as np
import onnxruntime
from onnx import helper
from onnx.reference import ReferenceEvaluator


def both(operator, *inputs):
    feed = {f"x{index}": np.asarray(value) for index, value in enumerate(inputs)}
    node = helper.make_node(operator, list(feed), ["y"])
    specs = [
        helper.make_tensor_value_info(k, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
        for k, v in feed.items()
    ]
    graph = helper.make_graph([node], "g", specs, [helper.make_empty_tensor_value_info("y")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    results = session.run(None, feed)[0], ReferenceEvaluator(model).run(None, feed)[0]
    return [int(result.ravel()[-1]) for result in results]


wide, narrow = np.int64([2**53, 1, 0]), np.int32([2**31 - 1, 1])
seen = {
    "ReduceSum int64": both("ReduceSum", wide),
    "CumSum int64": both("CumSum", wide, np.array(0)),
    "ReduceSum int32": both("ReduceSum", narrow),
    "CumSum int32": both("CumSum", narrow, np.array(0)),
    "ReduceProd int32": both("ReduceProd", np.int32([2**31 - 1, 2])),
}
print("(onnxruntime, reference):", seen)
if list(seen.values()) != [
    [2**53, 2**53 + 1],
    [2**53 + 1] * 2,
    [2**31 - 1, -(2**31)],
    [-(2**31)] * 2,
    [2**31 - 1, -2],
]:
    sys.exit("changed")
EOF
