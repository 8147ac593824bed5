#!/usr/bin/env bash
# torch 2.13.0, CPU: two reductions keep their running sum in bfloat16.
#
# A running value in bfloat16 sticks at 256 when ones are added. Most CPU reductions of torch keep
# a wider one; index_add and segment_reduce do not, though scatter_add does for the same sum.
#
# Seen: index_add 256, segment_reduce 256; scatter_add, cumsum, sum, dot and embedding_bag 1000.
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

ones = torch.ones(1000, dtype=torch.bfloat16)
zero = torch.zeros(1, dtype=torch.bfloat16)
index = torch.zeros(1000, dtype=torch.long)
bag = torch.nn.functional.embedding_bag
seen = {
    "index_add": zero.index_add(0, index, ones).item(),
    "segment_reduce": torch.segment_reduce(ones, "sum", lengths=torch.tensor([1000])).item(),
    "scatter_add": zero.scatter_add(0, index, ones).item(),
    "cumsum": ones.cumsum(0)[-1].item(),
    "sum": ones.sum().item(),
    "dot": ones.dot(ones).item(),
    "embedding_bag": bag(index[None], ones[:1, None], mode="sum").item(),
}
print(seen)
expected = dict.fromkeys(seen, 1000.0) | {"index_add": 256.0, "segment_reduce": 256.0}
if seen != expected:
    sys.exit(f"changed: {seen}")
EOF
