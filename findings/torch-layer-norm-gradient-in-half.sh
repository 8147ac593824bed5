#!/usr/bin/env bash
# torch 2.13.0 on a CPU: LayerNorm's gradient of weight and bias is summed in half precision.
#
# The backward pass of layer_norm in bfloat16 adds up grad_bias over the rows in bfloat16
# (grad_weight likewise), so that the error grows with the number of rows, although sum() of the very
# same numbers keeps float32 and rounds once. The gradient of the input, a sum over features, does not.
#
# Seen, 96 features, relative error of grad_bias, by layer_norm and by grad.sum(0): bfloat16 with 64
# rows 0.6 % and 0.2 %, 1024 rows 2.8 % and 0.2 %, 4096 rows 5.2 % and 0.2 %; float16 with 4096 rows
# 0.6 % and 0.02 %.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet torch==2.13.0 numpy==2.4.6
cd "$work"
"$venv/bin/python" - <<'EOF'
import sys

import torch
from torch.nn.functional import layer_norm


def errors(rows, dtype):
    torch.manual_seed(0)
    x, grad = (torch.randn(rows, 96, dtype=dtype) for _ in range(2))
    weight = torch.ones(96, dtype=dtype, requires_grad=True)
    bias = torch.zeros(96, dtype=dtype, requires_grad=True)
    layer_norm(x, (96,), weight, bias).backward(grad)
    right = grad.double().sum(0)
    found = [bias.grad, grad.sum(0)]
    return [float((one.double() - right).norm() / right.norm()) for one in found]


seen = {}
for rows, dtype in ((64, "bfloat16"), (1024, "bfloat16"), (4096, "bfloat16"), (4096, "float16")):
    by_norm, by_sum = errors(rows, getattr(torch, dtype))
    seen[rows, dtype] = by_norm, by_sum
    print(f"{dtype}, {rows} rows: layer_norm {by_norm:.2%}, sum {by_sum:.2%}")
by_norm, by_sum = seen[4096, "bfloat16"]
grows = by_norm > 3 * seen[64, "bfloat16"][0]
if not (grows and by_norm > 10 * by_sum and by_sum < 0.003):
    sys.exit("changed: the sums are as good as sum()'s, or no longer grow with the rows")
EOF
