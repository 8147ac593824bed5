#!/usr/bin/env bash
# onnxruntime 1.32.0, CPU: ReduceMax, ArgMax and MaxPool keep or lose a NaN by its place in the
# row.
#
# In a reduction a NaN in the first place is never replaced and one further on never wins: the same
# three values in another order give NaN or 3. Along the other axis it is the first row that
# counts. onnx's reference evaluator, numpy and torch return NaN and its index. Max of two inputs
# keeps NaN in onnxruntime too.
#
# Seen: ReduceMax of [nan, 1, 3] nan, of [1, nan, 3] 3; ArgMax 0 and 2 (reference 0 and 1); MaxPool
# of [1, nan, 3] 3; Max(1, nan) nan.
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


def both(operator, *inputs, **attributes):
    feed = {f"x{index}": np.asarray(value) for index, value in enumerate(inputs)}
    node = helper.make_node(operator, list(feed), ["y"], **attributes)
    specs = [
        helper.make_tensor_value_info(k, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
        for k, v in feed.items()
    ]
    graph = helper.make_graph([node], "g", specs, [helper.make_empty_tensor_value_info("y")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    results = session.run(None, feed)[0], ReferenceEvaluator(model).run(None, feed)[0]
    return [str(float(result.ravel()[0])) for result in results]


first, second = np.float32([np.nan, 1, 3]), np.float32([1, np.nan, 3])
axis = np.array([0])
seen = {
    "ReduceMax nan first": both("ReduceMax", first, axis),
    "ReduceMax nan second": both("ReduceMax", second, axis),
    "ArgMax nan first": both("ArgMax", first, axis=0),
    "ArgMax nan second": both("ArgMax", second, axis=0),
    "MaxPool": both("MaxPool", second.reshape(1, 1, 3), kernel_shape=[3])[:1],
    "Max": both("Max", second[:1], second[1:2]),
}
print("(onnxruntime, reference):", seen)
expected = [["nan", "nan"], ["3.0", "nan"], ["0.0", "0.0"], ["2.0", "1.0"], ["3.0"], ["nan", "nan"]]
if list(seen.values()) != expected:
    sys.exit("changed")
EOF
