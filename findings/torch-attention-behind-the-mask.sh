#!/usr/bin/env bash
# torch 2.13.0, CPU, scaled_dot_product_attention: masking is not the same as leaving out.
#
# is_causal=True and attn_mask=ones.tril() describe one mask. With a NaN in the last key, only the
# last row is NaN in the first form and all rows are in the second. With a NaN in the last value,
# all rows are NaN in both, as zero times NaN is added. A row that is masked whole is 0, where
# softmax of a row of -inf is NaN.
#
# Seen for 4 positions, rows that are NaN: key causal 1, key mask 4, value causal 4, value mask 4.
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
from torch.nn.functional import scaled_dot_product_attention as attention

torch.manual_seed(0)
x = torch.randn(1, 1, 4, 8)
broken = x.clone()
broken[:, :, 3] = torch.nan
lower = torch.ones(4, 4, dtype=torch.bool).tril()


def nan_rows(key, value, **mask):
    return int(attention(x, key, value, **mask)[0, 0, :, 0].isnan().sum())


nothing = torch.zeros(4, 4, dtype=torch.bool)
seen = {
    "key causal": nan_rows(broken, x, is_causal=True),
    "key mask": nan_rows(broken, x, attn_mask=lower),
    "value causal": nan_rows(x, broken, is_causal=True),
    "value mask": nan_rows(x, broken, attn_mask=lower),
    "all masked": attention(x, x, x, attn_mask=nothing).abs().max().item(),
    "softmax": str(torch.full((4,), -torch.inf).softmax(0)[0].item()),
}
print(seen)
expected = {
    "key causal": 1,
    "key mask": 4,
    "value causal": 4,
    "value mask": 4,
    "all masked": 0.0,
    "softmax": "nan",
}
if seen != expected:
    sys.exit(f"changed: {seen}")
EOF
